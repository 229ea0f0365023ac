//! Handles a request for a stream: identifies the client, picks the topics, and writes the response head.

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode, Version};

use http_body_util::{BodyExt, Full};

use super::date;
use crate::auth::Identity;
use crate::config::OnExpiry;
use crate::hub::Rejection;
use crate::public::answer::{EVENT_STREAM, close_after, empty};
use crate::public::connection::{HttpConnection, Offer};
use crate::public::identify::{Asker, Identification, identify};
use crate::public::refusal::{Refusal, Refused};
use crate::public::reloadable::Reloadable;
use crate::public::routes::Route;
use crate::public::service::Public;
use crate::shard::Admission;
use crate::topic::{MAX_TOPICS_PER_STREAM, Topic, TopicPattern};
use crate::wire::Wire;

const HEADER_ID: HeaderName = HeaderName::from_static("last-event-id");
const HAS_BODY: Refusal = Refusal::BadRequest("A stream request has no body");
/// Header fields of every stream.
const FIELDS: [(&str, &str); 3] = [
    ("Content-Type", EVENT_STREAM),
    // Proxies that compress would delay events.
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
];
/// Query parameters for clients that cannot set the header. Each polyfill uses its own name.
const QUERY_IDS: [&str; 4] = [
    "last_event_id",
    "lastEventId",
    "lastEventID",
    "Last-Event-ID",
];
/// A string that all of [`QUERY_IDS`] contain.
const QUERY_ID_PART: &str = "vent";

/// Checks the request and offers the stream to the driver. Returns only for HEAD, or if it is refused.
pub(crate) async fn answer(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    route: Route,
    request: &mut Request<Incoming>,
    cors: &[(HeaderName, HeaderValue)],
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let mut checked = check(public, request);
    if checked.is_ok() && !request.body().is_end_stream() {
        // A chunked body may still be empty. Boxed because it is rare.
        checked = run_until_closed(connection, Box::pin(check_is_empty(request.body_mut()))).await;
    }
    let request = &*request;
    let checked = match checked {
        Err(refusal) => Err(refusal.into()),
        Ok(()) if route == Route::TestStream => admission(connection, reloadable, request, None),
        Ok(()) => {
            let identified = match identify(connection, reloadable, request) {
                Identification::Now(identified) => identified,
                Identification::Later(identified) => {
                    run_until_closed(connection, connection.run_protected(identified)).await
                }
            };
            identified
                .map_err(Refused::from)
                .and_then(|who| admission(connection, reloadable, request, Some(who)))
        }
    };
    let is_head = request.method() == Method::HEAD;
    let refused = match checked {
        // Boxed because it is rare.
        Ok(admission) if is_head => match Box::pin(would_admit(connection, &admission)).await {
            Ok(()) => return head_only(request.version(), admission.keep_alive),
            Err(reason) => Refusal::from(reason).into(),
        },
        Ok(admission) => {
            let refused = run_until_closed(connection, offer(connection, admission, cors)).await;
            if refused.reason == Refusal::Unauthenticated {
                Asker::of(connection, reloadable, request).denied("session_ended");
            }
            refused
        }
        Err(refused) => refused,
    };
    let refusal = refused.reason;
    tracing::debug!(reason = refusal.reason(), peer = ?connection.peer(), "stream refused");
    // A HEAD request asks for no stream, so no stream is refused.
    if !is_head {
        connection.refused(refused, route == Route::TestStream, request.headers());
    }
    refusal.response(public.retry_after_s)
}

/// Runs a future. If the client closes its side meanwhile, it no longer wants the stream, and hyper drops
/// the request.
async fn run_until_closed<T>(connection: &HttpConnection, future: impl Future<Output = T>) -> T {
    connection.forbid_half_close();
    let outcome = future.await;
    connection.allow_half_close();
    outcome
}

/// Reserves a place and offers the stream to the driver. At the user's limit, the stream is offered once
/// more if dead connections could be closed.
async fn offer(
    connection: &HttpConnection,
    admission: Admission,
    cors: &[(HeaderName, HeaderValue)],
) -> Refused {
    let hub = &connection.public.hub;
    let offer = async |admission: Admission| {
        if let Some(identity) = &admission.identity
            && let Err(reason) = connection.answer_of(hub.reserve(identity)).await
        {
            return admission.declined(reason);
        }
        let unix_s = hub.clock.unix_ms() / 1_000;
        let head = head(admission.wire, admission.keep_alive, unix_s, cors);
        connection.handoff.offer(Offer { admission, head }).await
    };
    let mut declined = offer(admission).await;
    if let (Some(admission), Some(user)) = (declined.again.take(), &declined.user)
        && connection.run_protected(hub.make_room(user)).await
    {
        declined = offer(*admission).await;
    }
    declined.into()
}

/// Checks whether the same request would be admitted with GET. At the user's limit, this takes as long as
/// a GET would, but closes only connections that have already ended.
async fn would_admit(connection: &HttpConnection, admission: &Admission) -> Result<(), Rejection> {
    let hub = &connection.public.hub;
    let identity = admission.identity.as_ref();
    let before = hub.would_admit(identity);
    let Some(who) = identity else {
        return before;
    };
    match before {
        Ok(()) => {
            let has_place = connection.answer_of(hub.has_place(who));
            let has_place = run_until_closed(connection, has_place).await;
            has_place.then_some(()).ok_or(Rejection::Limit)
        }
        Err(Rejection::Limit) => {
            let room = hub.would_make_room(&who.user);
            let has_room = run_until_closed(connection, connection.run_protected(room)).await;
            match hub.would_admit(identity) {
                Err(Rejection::Limit) if has_room => Ok(()),
                after => after,
            }
        }
        before => before,
    }
}

/// Checks the head of a request for a stream.
fn check(public: &Public, request: &Request<Incoming>) -> Result<(), Refusal> {
    if public.is_draining() {
        return Err(Refusal::ShuttingDown);
    }
    if request.headers().contains_key(EXPECT) {
        return Err(Refusal::BadRequest("A stream request expects nothing"));
    }
    // A chunked body has no known length.
    match request.body().size_hint().exact() {
        None | Some(0) => Ok(()),
        Some(_) => Err(HAS_BODY),
    }
}

/// Reads a body to its end, and checks that it is empty. Otherwise its rest would be taken for input of
/// the stream.
async fn check_is_empty(body: &mut Incoming) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        let is_empty = frame.is_ok_and(|frame| frame.data_ref().is_none_or(Bytes::is_empty));
        if !is_empty {
            return Err(HAS_BODY);
        }
    }
    Ok(())
}

fn admission(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
    identity: Option<Identity>,
) -> Result<Admission, Refused> {
    let public = &connection.public;
    let topics = match &identity {
        None => Box::default(),
        Some(identity) => topics(request.uri().query(), &identity.topics).map_err(|reason| {
            let user = Some(identity.user.clone());
            Refused { reason, user }
        })?,
    };
    let last_event_id = identity
        .as_ref()
        .and_then(|_| last_event_id(request.headers(), request.uri().query()));
    let expires_at_s = identity
        .as_ref()
        .filter(|_| reloadable.auth.on_expiry == OnExpiry::Close)
        .map(|identity| end_of(identity, reloadable, public.hub.clock.unix_ms() / 1_000));
    Ok(Admission {
        identity,
        topics,
        wire: match request.version() {
            Version::HTTP_10 => Wire::SseRaw,
            _ => Wire::SseChunked,
        },
        keep_alive: keeps_alive(request),
        last_event_id,
        forwarded_for: connection.remote(request.headers()),
        expires_at_s,
    })
}

/// Returns true if the connection can be used after the stream. In HTTP/1.0, only the end of the
/// connection marks the end of a stream.
fn keeps_alive(request: &Request<Incoming>) -> bool {
    let asks_to_close = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    let mut options = request.headers().get_all(CONNECTION).iter();
    // A body framed in two ways may be an attack on a proxy in front, and its connection has to be closed
    // (RFC 9112, 6.1). hyper drops a `Content-Length` after `Transfer-Encoding`, so such a request looks
    // like an ordinary chunked one.
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    request.version() != Version::HTTP_10 && !is_chunked && !options.any(asks_to_close)
}

/// The time at which the stream ends because its token expires. A stream that is opened within the leeway
/// lasts for the leeway, instead of ending after its first frame.
fn end_of(identity: &Identity, reloadable: &Reloadable, unix_s: u64) -> u64 {
    if identity.expires_at > unix_s {
        identity.expires_at
    } else {
        identity
            .expires_at
            .saturating_add(reloadable.auth.leeway.as_secs().max(1))
    }
}

/// The topics of a stream: the requested ones, or else all that the token names literally.
fn topics(query: Option<&str>, allowed: &[TopicPattern]) -> Result<Box<[Topic]>, Refusal> {
    let mut topics: Vec<Topic> = Vec::new();
    let mut ask = |topic: Topic| {
        if topics.contains(&topic) {
            return Ok(());
        }
        if topics.len() == MAX_TOPICS_PER_STREAM {
            return Err(Refusal::BadRequest("At most 32 topics"));
        }
        topics.push(topic);
        Ok(())
    };
    let mut has_asked = false;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name == "topic" {
            has_asked = true;
            let topic = Topic::parse(&value).map_err(|_| Refusal::BadRequest("Invalid topic"))?;
            if !allowed
                .iter()
                .any(|pattern| pattern.matches(topic.as_str()))
            {
                return Err(Refusal::TopicNotAllowed);
            }
            ask(topic)?;
        }
    }
    if !has_asked {
        for pattern in allowed.iter().filter(|pattern| pattern.is_literal()) {
            if let Ok(topic) = Topic::parse(pattern.as_str()) {
                ask(topic)?;
            }
        }
    }
    Ok(topics.into())
}

/// The id of the last event that the client has: from the header, or else the first one in the query. Empty
/// ids are ignored, as in the EventSource standard.
fn last_event_id(headers: &HeaderMap, query: Option<&str>) -> Option<Box<str>> {
    let header = headers
        .get(&HEADER_ID)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let asked = || {
        // Most queries hold only a token. Decoding it again would take a tenth of a handshake's time.
        let query = query.filter(|query| query.contains(QUERY_ID_PART) || query.contains('%'))?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, value)| QUERY_IDS.contains(&name.as_ref()) && !value.is_empty())
            .map(|(_, value)| value)
    };
    let id = header.filter(|id| !id.is_empty()).or_else(asked)?;
    Some(id.as_ref().into())
}

/// The head of a stream's response, which bypasses hyper.
fn head(wire: Wire, keep_alive: bool, unix_s: u64, cors: &[(HeaderName, HeaderValue)]) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(match wire {
        Wire::SseChunked => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".as_slice(),
        Wire::SseRaw => b"HTTP/1.0 200 OK\r\n",
    });
    let mut field = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    field("Connection", connection_option(keep_alive).as_bytes());
    for (name, value) in FIELDS {
        field(name, value.as_bytes());
    }
    for (name, value) in cors {
        field(name.as_str(), value.as_bytes());
    }
    head.extend_from_slice(b"Date: ");
    date::write(unix_s, &mut head);
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// The same head as a response to HEAD. hyper adds the date.
fn head_only(version: Version, keep_alive: bool) -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::OK);
    if keep_alive {
        let value = HeaderValue::from_static(connection_option(keep_alive));
        response.headers_mut().insert(CONNECTION, value);
    } else {
        close_after(version, &mut response);
    }
    for (name, value) in FIELDS {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn connection_option(keep_alive: bool) -> &'static str {
    if keep_alive { "keep-alive" } else { "close" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(query: &str, allowed: &[&str]) -> Result<Vec<String>, Refusal> {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|pattern| TopicPattern::parse(pattern).unwrap())
            .collect();
        let topics = topics(Some(query), &allowed)?;
        Ok(topics
            .iter()
            .map(|topic| topic.as_str().to_owned())
            .collect())
    }

    #[test]
    fn requested_topics_have_to_be_allowed() {
        let allowed = ["orders/*", "news"];
        assert_eq!(
            pick("topic=orders/1&topic=news&topic=news", &allowed).unwrap(),
            ["orders/1", "news"]
        );
        assert_eq!(
            pick("topic=orders/1/2", &allowed),
            Err(Refusal::TopicNotAllowed)
        );
        assert!(matches!(
            pick("topic=a//b", &allowed),
            Err(Refusal::BadRequest(_))
        ));
    }

    #[test]
    fn without_requested_topics_all_literal_topics_are_subscribed() {
        assert_eq!(pick("token=x", &["orders/*", "news"]).unwrap(), ["news"]);
    }

    #[test]
    fn the_header_takes_precedence_over_the_query() {
        let last = |header: Option<&str>, query: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("last-event-id", HeaderValue::from_str(header).unwrap());
            }
            last_event_id(&headers, query).map(String::from)
        };
        let query = Some("token=x&last_event_id=2-0");
        assert_eq!(last(Some("1-0"), query).as_deref(), Some("1-0"));
        assert_eq!(last(Some(""), query).as_deref(), Some("2-0"));
        assert_eq!(last(None, query).as_deref(), Some("2-0"));
        assert_eq!(last(None, Some("last_event_id=")), None);
        for name in QUERY_IDS.iter().chain(&["last%5Fevent%5Fid"]) {
            let query = format!("token=x&{name}=2-0");
            assert_eq!(last(None, Some(&query)).as_deref(), Some("2-0"), "{name}");
            let query = format!("last_event_id=&{name}=2-0&lastEventId=3-0");
            assert_eq!(last(None, Some(&query)).as_deref(), Some("2-0"), "{name}");
            assert!(name.contains(QUERY_ID_PART) || name.contains('%'), "{name}");
        }
        assert_eq!(last(None, Some("lasteventid=2-0&event=1-0")), None);
        assert_eq!(last(None, None), None);
    }

    #[test]
    fn a_thirty_third_topic_is_refused() {
        let query: Vec<String> = (0..33).map(|n| format!("topic=t{n}")).collect();
        assert!(matches!(
            pick(&query.join("&"), &["**"]),
            Err(Refusal::BadRequest(_))
        ));
        assert_eq!(pick(&query[..32].join("&"), &["**"]).unwrap().len(), 32);
    }
}
