//! Which route a request is for.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderValue};
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;
use tracing::{Instrument, Span};

use super::access::check_key;
use super::api::answer::{Answer, Problem};
use super::api::body::Body;
use super::api::{events, openapi, users};
use super::connection::Line;
use super::dashboard::{live, page, recent_refusals, stats};
use super::service::Admin;
use super::{health, metrics, span};
use crate::event::UserId;
use crate::request::Fault;

/// A path that is served.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Dashboard,
    Health,
    Ready,
    Metrics,
    OpenApi,
    Stats,
    LiveStats,
    Refusals,
    Events,
    Batch,
    User(String),
    Session(String),
    Logout(String),
    Connections(String),
}

/// Answers a request.
pub(super) async fn answer(admin: &Admin, request: Request<Incoming>, line: &Arc<Line>) -> Answer {
    if let Some(fault) = Fault::of(&request) {
        let mut answer = Answer::from(Problem::faulty(fault));
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        return answer;
    }
    let clock = admin.hub.clock.clone();
    let request = request.map(|body| Body::new(body, line, clock));
    let mut answer = served(admin, request, line).await;
    if line.has_unread() {
        // What is left of the body stands where the next request would.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer
}

async fn served(admin: &Admin, request: Request<Body>, line: &Arc<Line>) -> Answer {
    let route = find(request.uri().path());
    let template = route.as_ref().map(Route::template);
    let is_open = matches!(
        route,
        Some(Route::Dashboard | Route::Health | Route::Ready | Route::Metrics)
    );
    let key = if is_open {
        Ok(None)
    } else {
        check_key(admin, request.headers(), line).await.map(Some)
    };
    // Probes and scrapers would be most of the traces; and who has no key may not write into them.
    let span = match key {
        Ok(Some(_)) => span::of(template, &request),
        _ => Span::none(),
    };
    let method = request.method().clone();
    let served = match key {
        Ok(key) => {
            serve(admin, route, key, request, line)
                .instrument(span.clone())
                .await
        }
        Err(problem) => Err(problem),
    };
    if let Err(problem) = &served {
        let clock = &admin.hub.clock;
        admin
            .refused_requests
            .note(problem, &method, template, line.peer(), clock);
    }
    let answer = served.unwrap_or_else(Answer::from);
    span::answered(&span, answer.status());
    answer
}

async fn serve(
    admin: &Admin,
    route: Option<Route>,
    key: Option<String>,
    request: Request<Body>,
    line: &Arc<Line>,
) -> Result<Answer, Problem> {
    if let Some(key) = key {
        tracing::debug!(%key, method = %request.method(), path = request.uri().path(), "admin");
    }
    let route = route.ok_or_else(Problem::not_found)?;
    let allowed = methods(&route);
    if !allowed.contains(request.method()) {
        let mut answer = Answer::from(Problem::method_not_allowed());
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
            answer.headers_mut().insert(ALLOW, value);
        }
        return Ok(answer);
    }
    match route {
        Route::Dashboard => Ok(page::answer()),
        Route::Health => Ok(health::alive()),
        Route::Ready => Ok(health::ready(admin)),
        Route::Metrics => metrics::answer(admin, request.headers()),
        Route::OpenApi => Ok(openapi::answer()),
        Route::Stats => Ok(stats::answer(admin)),
        Route::LiveStats => live::answer(admin, request.headers(), line),
        Route::Refusals => Ok(recent_refusals::answer(admin)),
        Route::Events => events::publish(admin, request.into_body()).await,
        Route::Batch => events::publish_batch(admin, request.into_body()).await,
        Route::User(id) => users::presence(admin, &user(&id)?).await,
        Route::Session(id) => users::change_session(admin, user(&id)?, request.into_body()).await,
        Route::Logout(id) => users::log_out(admin, user(&id)?, request.into_body()).await,
        Route::Connections(id) => users::disconnect(admin, user(&id)?).await,
    }
}

impl Route {
    /// As the OpenAPI document writes it.
    fn template(&self) -> &'static str {
        match self {
            Self::Dashboard => "/",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Stats => "/v1/stats",
            Self::LiveStats => "/v1/stats/live",
            Self::Refusals => "/v1/refusals",
            Self::Events => "/v1/events",
            Self::Batch => "/v1/events/batch",
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
        Route::OpenApi | Route::Stats | Route::LiveStats | Route::Refusals | Route::User(_) => {
            &[Method::GET]
        }
        Route::Events | Route::Batch | Route::Logout(_) => &[Method::POST],
        Route::Session(_) => &[Method::PUT],
        Route::Connections(_) => &[Method::DELETE],
    }
}

fn user(id: &str) -> Result<UserId, Problem> {
    UserId::new(id).map_err(|error| Problem::invalid(error.to_string()))
}
