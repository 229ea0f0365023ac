//! Is the process up, and may clients be sent to it.

use hyper::StatusCode;
use serde_json::json;

use super::api::answer::{Answer, bytes, json};
use super::service::Admin;

/// Up: it answers.
pub(super) fn alive() -> Answer {
    bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Ready: the listeners are bound (this one is the last), the engine stores, clients'
/// tokens can be checked, no drain.
pub(super) fn ready(admin: &Admin) -> Answer {
    match admin.not_ready() {
        // Those who are connected are served: a balancer must not take the server out for it.
        None if admin.is_full() => json(StatusCode::OK, &json!({"ready": true, "reason": "full"})),
        None => json(StatusCode::OK, &json!({"ready": true})),
        Some(reason) => json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"ready": false, "reason": reason}),
        ),
    }
}
