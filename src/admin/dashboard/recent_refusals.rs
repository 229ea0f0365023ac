//! `GET /v1/refusals`: the streams of late that were not opened.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::admin::api::answer::{Answer, json};
use crate::admin::moment;
use crate::admin::service::Admin;

pub(crate) fn answer(admin: &Admin) -> Answer {
    json(StatusCode::OK, &now(admin))
}

/// The latest first; an address as presence tells it.
pub(crate) fn now(admin: &Admin) -> Value {
    let recent = admin.recent_refusals.list();
    let refusals: Vec<Value> = recent
        .iter()
        .map(|refusal| {
            let note = &refusal.note;
            let remote = note.remote.map(|remote| remote.to_string());
            json!({
                "at": moment::of_millis(refusal.at_unix_ms),
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
