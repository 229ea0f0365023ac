//! Finds the route of a request and calls its handler.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderValue};
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;
use tracing::{Instrument, Span};

use super::access::check_key;
use super::api::body::Body;
use super::api::response::{ApiError, ApiResponse};
use super::api::{events, nodes, openapi, presence, users};
use super::connection::AdminConnection;
use super::dashboard::{live, page, recent_refusals, stats};
use super::service::Admin;
use super::{demo_pages, health, metrics, span};
use crate::event::UserId;
use crate::request::InvalidRequest;

/// A path that the admin listener serves.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Dashboard,
    Health,
    Ready,
    Metrics,
    OpenApi,
    Nodes,
    Stats,
    LiveStats,
    Refusals,
    Events,
    Batch,
    Presence,
    User(String),
    Session(String),
    Logout(String),
    Connections(String),
}

/// Answers a request, and counts the answer.
pub(super) async fn respond(
    admin: &Admin,
    request: Request<Incoming>,
    connection: &Arc<AdminConnection>,
) -> ApiResponse {
    let route = find(request.uri().path());
    let template = route.as_ref().map(Route::template);
    let response = answer(admin, route, request, connection).await;
    admin.requests.note(template, response.status());
    response
}

async fn answer(
    admin: &Admin,
    route: Option<Route>,
    request: Request<Incoming>,
    connection: &Arc<AdminConnection>,
) -> ApiResponse {
    if let Some(fault) = InvalidRequest::of(&request) {
        let mut response = ApiResponse::from(ApiError::faulty(fault));
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        return response;
    }
    let clock = admin.hub.clock.clone();
    let request = request.map(|body| Body::new(body, connection, clock));
    let mut response = handle(admin, route, request, connection).await;
    if connection.has_unread() {
        // The rest of the body would be read as the next request.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

async fn handle(
    admin: &Admin,
    route: Option<Route>,
    request: Request<Body>,
    connection: &Arc<AdminConnection>,
) -> ApiResponse {
    let is_for_demo = admin.has_demo && route == Some(Route::Events);
    if is_for_demo && demo_pages::is_preflight(&request) {
        return demo_pages::preflight();
    }
    let template = route.as_ref().map(Route::template);
    let is_without_key = matches!(
        route,
        Some(Route::Dashboard | Route::Health | Route::Ready | Route::Metrics)
    );
    let key = if is_without_key {
        Ok(None)
    } else {
        check_key(admin, request.headers(), connection)
            .await
            .map(Some)
    };
    // Probes and scrapes would be most of the traces, and a client without a key may not add to them.
    let span = match key {
        Ok(Some(_)) => span::of(template, &request),
        _ => Span::none(),
    };
    let method = request.method().clone();
    let result = match key {
        Ok(key) => {
            dispatch(admin, route, key, request, connection)
                .instrument(span.clone())
                .await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        let clock = &admin.hub.clock;
        admin
            .refused_requests
            .note(error, &method, template, connection.peer(), clock);
    }
    let mut response = result.unwrap_or_else(ApiResponse::from);
    if is_for_demo {
        demo_pages::allow_reading(response.headers_mut());
    }
    span::answered(&span, response.status());
    response
}

async fn dispatch(
    admin: &Admin,
    route: Option<Route>,
    key: Option<Arc<str>>,
    request: Request<Body>,
    connection: &Arc<AdminConnection>,
) -> Result<ApiResponse, ApiError> {
    if let Some(key) = key {
        // Not the path: somebody may take a token for an id.
        let route = route.as_ref().map(Route::template);
        tracing::debug!(%key, method = %request.method(), route, "admin");
    }
    let route = route.ok_or_else(ApiError::not_found)?;
    let allowed = methods(&route);
    if !allowed.contains(request.method()) {
        let mut response = ApiResponse::from(ApiError::method_not_allowed());
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
            response.headers_mut().insert(ALLOW, value);
        }
        return Ok(response);
    }
    match route {
        Route::Dashboard => Ok(page::response()),
        Route::Health => Ok(health::alive()),
        Route::Ready => Ok(health::ready(admin)),
        Route::Metrics => metrics::response(admin, request.headers()),
        Route::OpenApi => Ok(openapi::response()),
        Route::Nodes => nodes::response(admin).await,
        Route::Stats => Ok(stats::response(admin)),
        Route::LiveStats => live::response(admin, request.headers(), connection),
        Route::Refusals => Ok(recent_refusals::response(admin)),
        Route::Events => events::publish(admin, request.into_body()).await,
        Route::Batch => events::publish_batch(admin, request.into_body()).await,
        Route::Presence => presence::of_users(admin, request.into_body()).await,
        Route::User(id) => presence::of_user(admin, &user(&id)?).await,
        Route::Session(id) => users::change_session(admin, user(&id)?, request.into_body()).await,
        Route::Logout(id) => users::log_out(admin, user(&id)?, request.into_body()).await,
        Route::Connections(id) => users::disconnect(admin, user(&id)?).await,
    }
}

impl Route {
    /// The path as the OpenAPI document writes it.
    fn template(&self) -> &'static str {
        match self {
            Self::Dashboard => "/",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Nodes => "/v1/nodes",
            Self::Stats => "/v1/stats",
            Self::LiveStats => "/v1/stats/live",
            Self::Refusals => "/v1/refusals",
            Self::Events => "/v1/events",
            Self::Batch => "/v1/events/batch",
            Self::Presence => "/v1/presence",
            Self::User(_) => "/v1/users/{id}",
            Self::Session(_) => "/v1/users/{id}/session",
            Self::Logout(_) => "/v1/users/{id}/logout",
            Self::Connections(_) => "/v1/users/{id}/connections",
        }
    }
}

fn find(path: &str) -> Option<Route> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Route::Dashboard);
    }
    let mut segments = path.strip_prefix('/')?.split('/');
    let route = match (segments.next()?, segments.next()) {
        ("healthz", None) => Route::Health,
        ("readyz", None) => Route::Ready,
        ("metrics", None) => Route::Metrics,
        ("openapi.json", None) => Route::OpenApi,
        ("v1", Some("nodes")) => Route::Nodes,
        ("v1", Some("stats")) => match segments.next() {
            None => Route::Stats,
            Some("live") => Route::LiveStats,
            Some(_) => return None,
        },
        ("v1", Some("refusals")) => Route::Refusals,
        ("v1", Some("events")) => match segments.next() {
            None => Route::Events,
            Some("batch") => Route::Batch,
            Some(_) => return None,
        },
        ("v1", Some("presence")) => Route::Presence,
        ("v1", Some("users")) => {
            let id = percent_decode_str(segments.next()?);
            let id = id.decode_utf8().ok()?.into_owned();
            match segments.next() {
                None => Route::User(id),
                Some("session") => Route::Session(id),
                Some("logout") => Route::Logout(id),
                Some("connections") => Route::Connections(id),
                Some(_) => return None,
            }
        }
        _ => return None,
    };
    segments.next().is_none().then_some(route)
}

fn methods(route: &Route) -> &'static [Method] {
    match route {
        Route::Dashboard | Route::Health | Route::Ready | Route::Metrics => {
            &[Method::GET, Method::HEAD]
        }
        Route::OpenApi
        | Route::Nodes
        | Route::Stats
        | Route::LiveStats
        | Route::Refusals
        | Route::User(_) => &[Method::GET],
        Route::Events | Route::Batch | Route::Presence | Route::Logout(_) => &[Method::POST],
        Route::Session(_) => &[Method::PUT],
        Route::Connections(_) => &[Method::DELETE],
    }
}

fn user(id: &str) -> Result<UserId, ApiError> {
    UserId::new(id).map_err(|error| ApiError::invalid(error.to_string()))
}
