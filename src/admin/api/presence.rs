//! `GET /v1/users/{id}` and `POST /v1/presence`: who is connected.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::body::Body;
use super::id::Id;
use super::response::{ApiError, ApiResponse, json, parse_body};
use crate::admin::service::Admin;
use crate::admin::timestamp;
use crate::event::UserId;
use crate::hub::engine::{Elsewhere, Located};

/// Most users of one request. The answer of each node to it is some kilobytes.
const MAX_USERS: usize = 1_000;
/// Largest body: that many users with the longest ids, and some room for escapes.
const MAX_BODY_BYTES: usize = 1 << 20;

#[derive(Serialize)]
struct Presence<'a> {
    user: &'a str,
    online: bool,
    connections: Vec<Connection<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    partial: &'a [String],
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

/// `GET /v1/users/{id}`
pub(crate) async fn of_user(admin: &Admin, user: &UserId) -> Result<ApiResponse, ApiError> {
    let Elsewhere { found, silent } = admin.hub.presence(user).await;
    let presence = Presence {
        user: user.as_str(),
        online: !found.is_empty(),
        connections: found.iter().map(Connection::from).collect(),
        partial: &silent,
    };
    Ok(json(StatusCode::OK, &presence))
}

impl<'a> From<&'a Located> for Connection<'a> {
    fn from(Located { node, description }: &'a Located) -> Self {
        Self {
            id: match node {
                Some(node) => format!("{node}:{}", description.connection),
                None => description.connection.to_string(),
            },
            since: timestamp::of_seconds(description.since_s.into()),
            transport: description.transport.label(),
            remote: description
                .remote
                .map_or_else(|| "unix".to_owned(), |remote| remote.to_string()),
            session: description.session.as_deref(),
            topics: description.topics.iter().map(AsRef::as_ref).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsersBody<'a> {
    #[serde(borrow)]
    users: Vec<Id<'a>>,
}

#[derive(Serialize)]
struct UsersPresence<'a> {
    users: BTreeMap<&'a str, UserPresence>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partial: Vec<String>,
}

#[derive(Serialize)]
struct UserPresence {
    online: bool,
    connections: usize,
}

/// `POST /v1/presence`
pub(crate) async fn of_users(admin: &Admin, body: Body) -> Result<ApiResponse, ApiError> {
    let body = body.whole(MAX_BODY_BYTES).await?;
    let UsersBody { users } = parse_body(&body)?;
    if users.len() > MAX_USERS {
        return Err(ApiError::invalid(format!(
            "users has {} entries; at most {MAX_USERS} are allowed",
            users.len()
        )));
    }
    let users: Result<Vec<UserId>, _> = users.iter().map(|user| UserId::new(&user.0)).collect();
    let users = users.map_err(|error| ApiError::invalid(error.to_string()))?;
    let Elsewhere { found, silent } = admin.hub.connections_of(&users).await;
    let presences = found.into_iter().map(|connections| UserPresence {
        online: connections > 0,
        connections,
    });
    let presence = UsersPresence {
        users: users.iter().map(UserId::as_str).zip(presences).collect(),
        partial: silent,
    };
    Ok(json(StatusCode::OK, &presence))
}
