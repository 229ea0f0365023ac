//! Responses that are not streams: refusals, unknown paths, wrong methods, CORS, limits.

mod cors;
mod gone;
mod limits;
mod routes;

use std::time::Duration;

use crate::support::{Answer, NOTIFICATIONS, Stream, TestServer};

/// The default `retry_max` in seconds.
const RETRY_AFTER: &str = "6";

/// The parts of a refusal that the contract defines.
#[derive(Debug, PartialEq)]
struct Refused {
    status: u16,
    content_type: Option<String>,
    www_authenticate: Option<String>,
    retry_after: Option<String>,
    body: String,
}

/// The contract's texts for a status and a reason.
fn refused(status: u16, reason: &str) -> Refused {
    let when = |is_so, value: &str| bool::then(is_so, || value.to_owned());
    Refused {
        status,
        content_type: Some("text/event-stream".to_owned()),
        www_authenticate: when(status == 401, "Bearer"),
        retry_after: when(status == 429 || status == 503, RETRY_AFTER),
        body: format!("event: error\ndata: {{\"error\": \"{reason}\"}}\n\n"),
    }
}

impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        let field = |name| answer.header(name).map(ToOwned::to_owned);
        Self {
            status: answer.status,
            content_type: field("content-type"),
            www_authenticate: field("www-authenticate"),
            retry_after: field("retry-after"),
            body: answer.body.clone(),
        }
    }
}

impl From<Stream> for Refused {
    fn from(stream: Stream) -> Self {
        Answer::from(stream).into()
    }
}

fn assert_refusals(server: &TestServer, reason: &str, count: f64) {
    let name = format!("idlewild_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(server.metric(&name), Some(count));
}

#[test]
fn without_a_valid_credential_a_stream_is_refused() {
    let server = TestServer::start();
    let late = server.token("42");
    let revoked = server.token("43");
    server.advance(Duration::from_secs(3_606));
    assert_eq!(
        server.admin("POST", "/v1/users/43/logout", "{}").status / 100,
        2
    );
    for query in [
        String::new(),
        "?token=".to_owned(),
        "?token=bad".to_owned(),
        "?ticket=bad".to_owned(),
        format!("?token={late}"),
        format!("?token={revoked}"),
    ] {
        let answer = server.get(&format!("{NOTIFICATIONS}{query}"));
        assert_eq!(
            Refused::from(answer),
            refused(401, "Authentication required"),
            "{query}"
        );
    }
    assert_refusals(&server, "auth", 6.0);
}

#[test]
fn a_token_issued_before_a_log_out_is_refused() {
    let server = TestServer::start();
    let token = server.token("42");
    server.advance(Duration::from_secs(1));
    assert_eq!(
        server.admin("POST", "/v1/users/42/logout", "{}").status / 100,
        2
    );
    let answer = server.get(&format!("{NOTIFICATIONS}?token={token}"));
    assert_eq!(
        Refused::from(answer),
        refused(401, "Authentication required")
    );
    server.advance(Duration::from_secs(1));
    assert_eq!(server.stream("42").status, 200);
}

#[test]
fn a_topic_that_the_token_does_not_allow_is_refused() {
    let server = TestServer::start();
    let token = server.token_with("42", None, &["orders/*", "news"]);
    for query in ["topic=other", "topic=news&topic=orders/1/2", "topic=orders"] {
        let answer = server.get(&format!("{NOTIFICATIONS}?token={token}&{query}"));
        assert_eq!(
            Refused::from(answer),
            refused(403, "Topic not allowed"),
            "{query}"
        );
    }
    let answer = server.get(&format!(
        "{NOTIFICATIONS}?token={}&topic=news",
        server.token("42")
    ));
    assert_eq!(Refused::from(answer), refused(403, "Topic not allowed"));
    assert_refusals(&server, "topic", 4.0);
}

#[test]
fn a_stream_is_refused_during_a_drain() {
    let mut server = TestServer::start().over_sse();
    let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
    let mut client = server.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let (first, rest) = request.split_at(40);
    client.send(first);
    server.wait_for_metric("idlewild_handshakes_in_flight", 1.0);
    // The shard has read the beginning of the head once this request is answered on either shard.
    (0..20).for_each(|_| assert_eq!(server.get("/healthz").status, 200));
    let drained = server.drain();
    crate::support::eventually("the server is not ready", || {
        server.admin("GET", "/readyz", "").status == 503
    });
    client.send(rest);
    let mut stream = client.stream();
    assert_eq!(stream.header("connection"), Some("close"));
    assert_eq!(stream.status, 503);
    let body = stream.body();
    assert!(!stream.follow());
    let answer = Answer {
        status: stream.status,
        head: stream.head.clone(),
        body,
    };
    assert_eq!(Refused::from(answer), refused(503, "Shutting down"));
    drop(stream);
    drained.join().unwrap();
}

#[test]
fn a_refused_client_counts_only_as_refused() {
    let server = TestServer::start();
    assert_eq!(server.get(NOTIFICATIONS).status, 401);
    assert_eq!(server.metric("idlewild_users"), Some(0.0));
    assert_eq!(
        server.metric(&server.series("idlewild_connects_total")),
        Some(0.0)
    );
}
