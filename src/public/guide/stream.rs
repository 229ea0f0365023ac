//! A request for a stream: who asks, for what, and the head of the answer.

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode, Version};

use http_body_util::{BodyExt, Full};

use super::date;
use crate::auth::Identity;
use crate::config::OnExpiry;
use crate::hub::Rejection;
use crate::public::answer::{EVENT_STREAM, close_after, empty};
use crate::public::connection::{Connection, Offer};
use crate::public::identify::{Asker, Verdict, identify};
use crate::public::live::Live;
use crate::public::refusal::{Refusal, Refused};
use crate::public::routes::Route;
use crate::public::service::Public;
use crate::shard::Admission;
use crate::topic::{MAX_TOPICS_PER_STREAM, Topic, TopicPattern};
use crate::wire::Wire;

const HEADER_ID: HeaderName = HeaderName::from_static("last-event-id");
const HAS_BODY: Refusal = Refusal::BadRequest("A stream request has no body");
/// What the head of every stream says.
const FIELDS: [(&str, &str); 3] = [
    ("Content-Type", EVENT_STREAM),
    // Proxies that compress would hold events back.
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
];
/// Stand for it where a client cannot set a header; the polyfills each have their own.
const QUERY_IDS: [&str; 4] = [
    "last_event_id",
    "lastEventId",
    "lastEventID",
    "Last-Event-ID",
];
/// What all of them contain.
const QUERY_ID_PART: &str = "vent";

/// Checks the request and offers it to the driver; returns only where it is refused.
pub(crate) async fn answer(
    connection: &Connection,
    live: &Live,
    route: Route,
    request: &mut Request<Incoming>,
    cors: &[(HeaderName, HeaderValue)],
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let mut checked = check(public, request);
    if checked.is_ok() && !request.body().is_end_stream() {
        // Chunked: whether anything comes is not known yet. Boxed, for hardly anybody does this.
        checked = awaiting(connection, Box::pin(check_is_empty(request.body_mut()))).await;
    }
    let request = &*request;
    let checked = match checked {
        Err(refusal) => Err(refusal.into()),
        Ok(()) if route == Route::TestStream => admission(connection, live, request, None),
        Ok(()) => {
            let identified = match identify(connection, live, request) {
                Verdict::Now(identified) => identified,
                Verdict::Later(identified) => {
                    awaiting(connection, connection.working(identified)).await
                }
            };
            identified
                .map_err(Refused::from)
                .and_then(|who| admission(connection, live, request, Some(who)))
        }
    };
    let is_head = request.method() == Method::HEAD;
    let refused = match checked {
        // Boxed, for hardly anybody does this.
        Ok(admission) if is_head => match Box::pin(would_admit(connection, &admission)).await {
            Ok(()) => return head_only(request.version(), admission.keep_alive),
            Err(reason) => Refusal::from(reason).into(),
        },
        Ok(admission) => {
            let refused = awaiting(connection, offer(connection, admission, cors)).await;
            if refused.reason == Refusal::Unauthenticated {
                Asker::of(connection, live, request).denied("session_ended");
            }
            refused
        }
        Err(refused) => refused,
    };
    let refusal = refused.reason;
    tracing::debug!(reason = refusal.reason(), peer = ?connection.peer(), "stream refused");
    // Who asks for a head asks for no stream.
    if !is_head {
        connection.refused(refused, route == Route::TestStream, request.headers());
    }
    refusal.response(public.retry_after_s)
}

/// Waits for something; a client that closes its side meanwhile no longer wants a stream.
async fn awaiting<T>(connection: &Connection, future: impl Future<Output = T>) -> T {
    connection.pass_end();
    let outcome = future.await;
    connection.hold_end();
    outcome
}

/// Offers the stream to the driver. At the user's limit it is offered once more, if connections
/// that are gone have given way.
async fn offer(
    connection: &Connection,
    admission: Admission,
    cors: &[(HeaderName, HeaderValue)],
) -> Refused {
    let hub = &connection.public.hub;
    let offer = |admission: Admission| {
        let unix_s = hub.clock.unix_ms() / 1_000;
        let head = head(admission.wire, admission.keep_alive, unix_s, cors);
        connection.handoff.offer(Offer { admission, head })
    };
    let mut declined = offer(admission).await;
    if let (Some(admission), Some(user)) = (declined.again.take(), &declined.user)
        && connection.working(hub.make_room(user)).await
    {
        declined = offer(*admission).await;
    }
    declined.into()
}

/// Whether the same request would be let in with GET. At the user's limit the question takes as
/// long as it does there, but nobody gives way.
async fn would_admit(connection: &Connection, admission: &Admission) -> Result<(), Rejection> {
    let hub = &connection.public.hub;
    let identity = admission.identity.as_ref();
    let before = hub.would_admit(identity);
    let (Err(Rejection::Limit), Some(who)) = (before, identity) else {
        return before;
    };
    let room = hub.would_make_room(&who.user);
    let has_room = awaiting(connection, connection.working(room)).await;
    match hub.would_admit(identity) {
        Err(Rejection::Limit) if has_room => Ok(()),
        after => after,
    }
}

/// Whether it is a request for a stream, as far as its head tells.
fn check(public: &Public, request: &Request<Incoming>) -> Result<(), Refusal> {
    if public.is_draining() {
        return Err(Refusal::ShuttingDown);
    }
    if request.headers().contains_key(EXPECT) {
        return Err(Refusal::BadRequest("A stream request expects nothing"));
    }
    // A chunked body does not say.
    match request.body().size_hint().exact() {
        None | Some(0) => Ok(()),
        Some(_) => Err(HAS_BODY),
    }
}

/// Waits for the end of a body. What may still come would be read as the stream's input.
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
    connection: &Connection,
    live: &Live,
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
        .filter(|_| live.auth.on_expiry == OnExpiry::Close)
        .map(|identity| end_of(identity, live, public.hub.clock.unix_ms() / 1_000));
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

/// Whether the connection may go on after the stream. HTTP/1.0 has nothing but its end to say where
/// a stream ends.
fn keeps_alive(request: &Request<Incoming>) -> bool {
    let asks_to_close = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    let mut options = request.headers().get_all(CONNECTION).iter();
    // A body framed in two ways may be an attack on a proxy in front, and its connection has to
    // close (RFC 9112, 6.1). hyper drops a `Content-Length` that follows `Transfer-Encoding`, so
    // nothing tells such a request from a chunked one.
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    request.version() != Version::HTTP_10 && !is_chunked && !options.any(asks_to_close)
}

/// When the stream ends with its token. One that came inside the leeway gets the leeway, rather
/// than its end with its first frame.
fn end_of(identity: &Identity, live: &Live, unix_s: u64) -> u64 {
    if identity.expires_at > unix_s {
        identity.expires_at
    } else {
        identity
            .expires_at
            .saturating_add(live.auth.leeway.as_secs().max(1))
    }
}

/// The topics a stream gets: those asked for, or all that the token names outright.
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

/// The id of the last event that the client has: of the header, or else of the query. An empty
/// one is none, as the EventSource standard has it, so the query's first that is not counts.
fn last_event_id(headers: &HeaderMap, query: Option<&str>) -> Option<Box<str>> {
    let header = headers
        .get(&HEADER_ID)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let asked = || {
        // Most queries are a token, and decoding that once more is a tenth of a handshake.
        let query = query.filter(|query| query.contains(QUERY_ID_PART) || query.contains('%'))?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, value)| QUERY_IDS.contains(&name.as_ref()) && !value.is_empty())
            .map(|(_, value)| value)
    };
    let id = header.filter(|id| !id.is_empty()).or_else(asked)?;
    Some(id.as_ref().into())
}

/// The head of a stream's answer, written past hyper.
fn head(wire: Wire, keep_alive: bool, unix_s: u64, cors: &[(HeaderName, HeaderValue)]) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(match wire {
        Wire::SseRaw => b"HTTP/1.0 200 OK\r\n".as_slice(),
        // No route of this file opens a WebSocket.
        Wire::SseChunked | Wire::WebSocket => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
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

/// The same head as an answer of its own; hyper adds the date.
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
    fn the_topics_asked_for_have_to_be_allowed() {
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
    fn without_a_wish_all_literal_topics_are_taken() {
        assert_eq!(pick("token=x", &["orders/*", "news"]).unwrap(), ["news"]);
    }

    #[test]
    fn the_header_names_the_last_event_before_the_query_does() {
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
    fn a_thirty_third_topic_is_too_many() {
        let query: Vec<String> = (0..33).map(|n| format!("topic=t{n}")).collect();
        assert!(matches!(
            pick(&query.join("&"), &["**"]),
            Err(Refusal::BadRequest(_))
        ));
        assert_eq!(pick(&query[..32].join("&"), &["**"]).unwrap().len(), 32);
    }
}
