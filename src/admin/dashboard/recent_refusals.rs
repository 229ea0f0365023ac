//! `GET /v1/refusals`: streams that were recently refused.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::admin::api::response::{ApiResponse, json};
use crate::admin::service::Admin;
use crate::admin::timestamp;

pub(crate) fn response(admin: &Admin) -> ApiResponse {
    json(StatusCode::OK, &now(admin))
}

/// The recent refusals, newest first. Addresses have the same form as in `GET /v1/users/{id}`.
pub(crate) fn now(admin: &Admin) -> Value {
    let recent = admin.recent_refusals.list();
    let refusals: Vec<Value> = recent
        .iter()
        .map(|refusal| {
            let note = &refusal.note;
            let remote = note.remote.map(|remote| remote.to_string());
            json!({
                "at": timestamp::of_millis(refusal.at_unix_ms),
                "reason": note.reason.label(),
                "text": note.text,
                "status": note.status,
                "remote": remote.as_deref().unwrap_or("unix"),
                "user": note.user.as_deref(),
                "more": refusal.more,
            })
        })
        .collect();
    json!({ "refusals": refusals })
}
