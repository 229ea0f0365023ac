//! Who is online, whose session is current, and ending connections.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::Instrument;

use super::answer::{Answer, Problem, json, parse_body};
use super::body::Body;
use super::{Admin, moment};
use crate::engine::Notice;
use crate::event::{SessionChange, UserId, check_session};
use crate::shard::{Description, Shards};
use crate::spans;

/// A session change's body: an id and two sentences.
const MAX_BODY_BYTES: usize = 8 * 1024;

#[derive(Serialize)]
struct Presence<'a> {
    user: &'a str,
    online: bool,
    connections: Vec<Connection<'a>>,
}

#[derive(Serialize)]
struct Connection<'a> {
    id: String,
    since: String,
    transport: &'static str,
    /// An address, or `unix`.
    remote: String,
    session: Option<&'a str>,
    topics: Vec<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionBody {
    session_id: String,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutBody {
    message: Option<String>,
    reason: Option<String>,
}

/// `GET /v1/users/{id}`
pub(super) async fn presence(admin: &Admin, user: &UserId) -> Result<Answer, Problem> {
    let mut described = Shards::describe(&admin.shards, user).await;
    described.sort_by_key(|connection| (connection.since_s, connection.connection.generation));
    let presence = Presence {
        user: user.as_str(),
        online: !described.is_empty(),
        connections: described.iter().map(Connection::from).collect(),
    };
    Ok(json(StatusCode::OK, &presence))
}

/// `PUT /v1/users/{id}/session`
pub(super) async fn change_session(
    admin: &Admin,
    user: UserId,
    body: Body,
) -> Result<Answer, Problem> {
    let SessionBody {
        session_id,
        message,
    } = parse_body(&body.whole(MAX_BODY_BYTES).await?)?;
    check_session(&session_id).map_err(|error| Problem::invalid(error.to_string()))?;
    let notice = Notice {
        message: message
            .unwrap_or_else(|| "You have been logged in from another device.".to_owned()),
        reason: "new_login".to_owned(),
    };
    let id = change(
        admin,
        user.clone(),
        Some(session_id.as_str().into()),
        notice,
    )
    .await?;
    let body = json!({"user": user.as_str(), "session_id": session_id, "id": id});
    Ok(json(StatusCode::OK, &body))
}

/// `POST /v1/users/{id}/logout`
pub(super) async fn log_out(admin: &Admin, user: UserId, body: Body) -> Result<Answer, Problem> {
    let LogoutBody { message, reason } = parse_body(&body.whole(MAX_BODY_BYTES).await?)?;
    let notice = Notice {
        message: message.unwrap_or_else(|| "You have been logged out.".to_owned()),
        reason: reason.unwrap_or_else(|| "logout".to_owned()),
    };
    let id = change(admin, user.clone(), None, notice).await?;
    Ok(json(
        StatusCode::OK,
        &json!({"user": user.as_str(), "id": id}),
    ))
}

/// `DELETE /v1/users/{id}/connections`
pub(super) fn disconnect(admin: &Admin, user: &UserId) -> Answer {
    let ended = Shards::disconnect_user(&admin.shards, user);
    json(
        StatusCode::OK,
        &json!({"user": user.as_str(), "ended": ended}),
    )
}

/// Answers when the change is in force: from then on the old tokens are refused.
async fn change(
    admin: &Admin,
    user: UserId,
    keep: Option<Box<str>>,
    notice: Notice,
) -> Result<String, Problem> {
    let shards = &admin.shards;
    if let Some(session) = &keep
        && shards.directory.is_current(user.as_str(), session)
    {
        // It logs nobody out, so nobody gets a FORCE_LOGOUT.
        return Ok(shards.log.newest_id().to_string());
    }
    let span = match keep {
        Some(_) => spans::change_session(),
        None => spans::log_out(),
    };
    let change = SessionChange {
        user,
        keep,
        at_unix_ms: shards.clock.unix_ms(),
    };
    let changed = admin
        .engine
        .change_session(change, notice)
        .instrument(span.clone())
        .await;
    let id = changed.inspect_err(|error| spans::fail(&span, error))?;
    drop(span);
    let dispatched = shards.log.dispatched(id);
    dispatched.instrument(spans::dispatch()).await;
    Ok(id.to_string())
}

impl<'a> From<&'a Description> for Connection<'a> {
    fn from(description: &'a Description) -> Self {
        let place = description.connection;
        Self {
            id: format!("{}-{}-{}", place.shard, place.key, place.generation),
            since: moment::of_seconds(description.since_s.into()),
            transport: description.transport.label(),
            remote: description
                .remote
                .map_or_else(|| "unix".to_owned(), |remote| remote.to_string()),
            session: description.session.as_deref(),
            topics: description.topics.iter().map(AsRef::as_ref).collect(),
        }
    }
}
