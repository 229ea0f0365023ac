//! Is the process up, and may clients be sent to it.

use hyper::StatusCode;
use serde_json::json;
use std::sync::atomic::Ordering;

use super::Admin;
use super::answer::{Answer, bytes, json};

/// Up: it answers.
pub(super) fn alive() -> Answer {
    bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Ready: the listeners are bound (this one is the last), the engine stores, no drain.
pub(super) fn ready(admin: &Admin) -> Answer {
    let reason = if admin.is_draining.load(Ordering::Relaxed) {
        Some("draining".to_owned())
    } else {
        admin.engine.ready().err().map(|error| error.to_string())
    };
    match reason {
        None => json(StatusCode::OK, &json!({"ready": true})),
        Some(reason) => json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"ready": false, "reason": reason}),
        ),
    }
}
