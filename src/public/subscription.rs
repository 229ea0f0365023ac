//! What a request for a stream asks for, whatever the transport: its topics, and the last event that the client has.

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName};

use super::connection::HttpConnection;
use super::refusal::{Refusal, Refused};
use super::reloadable::Reloadable;
use crate::auth::Identity;
use crate::config::OnExpiry;
use crate::request::query_pairs;
use crate::shard::Admission;
use crate::topic::{MAX_TOPICS_PER_STREAM, Topic, TopicPattern};
use crate::wire::Wire;

const HEADER_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Query parameters for clients that cannot set the header. Each polyfill uses its own name.
const QUERY_IDS: [&str; 4] = [
    "last_event_id",
    "lastEventId",
    "lastEventID",
    "Last-Event-ID",
];
/// A string that all of [`QUERY_IDS`] contain.
const QUERY_ID_PART: &str = "vent";

/// How a stream is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamForm {
    pub(super) wire: Wire,
    /// The connection can be used after the stream.
    pub(super) keep_alive: bool,
}

/// What an identified client asks for; without an identity, what a client of the test stream gets.
///
/// # Errors
/// [`Refused`]: the topics are not valid, or the token does not allow them.
pub(super) fn admission(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
    identity: Option<Identity>,
    form: StreamForm,
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
        wire: form.wire,
        keep_alive: form.keep_alive,
        last_event_id,
        forwarded_for: connection.remote(request.headers()),
        expires_at_s,
    })
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
    for (name, value) in query_pairs(query.unwrap_or_default()) {
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
        query_pairs(query)
            .find(|(name, value)| QUERY_IDS.contains(&name.as_ref()) && !value.is_empty())
            .map(|(_, value)| value)
    };
    let id = header.filter(|id| !id.is_empty()).or_else(asked)?;
    Some(id.as_ref().into())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

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
