//! Session changes, and ending a user's connections.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::Body;
use super::id::Id;
use super::response::{ApiError, ApiResponse, json, parse_body};
use crate::admin::service::Admin;
use crate::event::{UserId, check_session};
use crate::hub::engine::Applied;
use crate::hub::{Changed, LogOut, LogOutOutcome};

/// The body of a session change: an id and two sentences.
const MAX_BODY_BYTES: usize = 8 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionBody<'a> {
    #[serde(borrow)]
    session_id: Id<'a>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutBody {
    message: Option<String>,
    reason: Option<String>,
}

/// `PUT /v1/users/{id}/session`
pub(crate) async fn change_session(
    admin: &Admin,
    user: UserId,
    body: Body,
) -> Result<ApiResponse, ApiError> {
    let body = body.whole(MAX_BODY_BYTES).await?;
    let SessionBody {
        session_id: Id(session_id),
        message,
    } = parse_body(&body)?;
    check_session(&session_id).map_err(|error| ApiError::invalid(error.to_string()))?;
    let changed = admin.hub.change_session(user.clone(), &session_id, message);
    let changed = changed.await?;
    let body = [
        ("user".to_owned(), json!(user.as_str())),
        ("session_id".to_owned(), json!(session_id)),
    ];
    let body = Map::from_iter(body);
    Ok(json(StatusCode::OK, &with_change(body, &changed)))
}

/// `POST /v1/users/{id}/logout`
pub(crate) async fn log_out(
    admin: &Admin,
    user: UserId,
    body: Body,
) -> Result<ApiResponse, ApiError> {
    let LogoutBody { message, reason } = parse_body(&body.whole(MAX_BODY_BYTES).await?)?;
    let texts = LogOut::default();
    let texts = LogOut {
        message: message.unwrap_or(texts.message),
        reason: reason.unwrap_or(texts.reason),
    };
    let LogOutOutcome {
        changed,
        ended,
        silent,
    } = admin.hub.log_out(user.clone(), texts).await?;
    let mut body = Map::from_iter([
        ("user".to_owned(), json!(user.as_str())),
        ("ended".to_owned(), json!(ended)),
    ]);
    if !silent.is_empty() {
        body.insert("partial".to_owned(), json!(silent));
    }
    Ok(json(StatusCode::OK, &with_change(body, &changed)))
}

/// Adds the id of a session change to a response, and with several nodes, where the change is in force.
fn with_change(mut body: Map<String, Value>, changed: &Changed) -> Value {
    body.insert("id".to_owned(), json!(changed.id.to_string()));
    let Applied { of, missing } = &changed.applied;
    if *of > 0 {
        let nodes = json!({"of": of, "applied": of - missing.len(), "missing": missing});
        body.insert("nodes".to_owned(), nodes);
    }
    Value::Object(body)
}

/// `DELETE /v1/users/{id}/connections`
pub(crate) async fn disconnect(admin: &Admin, user: UserId) -> Result<ApiResponse, ApiError> {
    let ended = admin.hub.disconnect(user.clone()).await?;
    Ok(json(
        StatusCode::OK,
        &json!({"user": user.as_str(), "ended": ended}),
    ))
}
