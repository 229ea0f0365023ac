//! `GET /healthz` and `GET /readyz`: whether the process is up, and whether clients may be sent to it.

use hyper::StatusCode;
use serde_json::json;

use super::api::response::{ApiResponse, bytes, json};
use super::service::Admin;

/// The process is up if it answers.
pub(super) fn alive() -> ApiResponse {
    bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// The server is ready if its listeners are bound, the engine stores events, clients' tokens can be
/// checked, and no drain has started. The admin listener is bound last.
pub(super) fn ready(admin: &Admin) -> ApiResponse {
    match admin.not_ready() {
        // Connected clients are still served, so a load balancer must not take the server out.
        None if admin.is_full() => json(StatusCode::OK, &json!({"ready": true, "reason": "full"})),
        None => json(StatusCode::OK, &json!({"ready": true})),
        Some(reason) => json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"ready": false, "reason": reason}),
        ),
    }
}
