//! Clients without a token: the application identifies them by their session.

use std::time::Duration;

use idlewild::auth::session::{
    KEPT, MAX_ANSWER_BYTES, MAX_QUESTIONS, MAX_QUESTIONS_EACH, MAX_REFUSALS, MAX_WAIT,
    REFUSAL_EVERY,
};
use rustix::process::Signal;
use serde_json::json;

use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::process::Process;
use crate::support::{
    API_KEY, BASE, Client, NOTIFICATIONS, SECRET, START_UNIX_MS, Stream, TestServer, eventually,
    heartbeat, request,
};

const UNAVAILABLE: &str = "event: error\ndata: {\"error\": \"Authentication unavailable\"}\n\n";
const COOKIE: &str = "Cookie: sessionid=s3ss10n\r\n";

fn signs_in(user: &str) -> Reply {
    Reply::body(200, &json!({ "user_id": user }).to_string())
}

/// A server that uses `backend` and has no keys.
fn server(backend: &Backend) -> TestServer {
    TestServer::with(|config| {
        config.auth.secret = None;
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
    })
}

/// Sends a request for a stream with these header lines; the response is not read yet.
fn send(server: &TestServer, lines: &str) -> Client {
    let mut client = server.connect();
    client.get(NOTIFICATIONS, lines);
    client
}

fn ask(server: &TestServer, lines: &str) -> Stream {
    send(server, lines).stream()
}

fn cookie(number: usize) -> String {
    format!("Cookie: sessionid={number}\r\n")
}

/// The cookie of a client with its own address; the test acts as a proxy in front of it.
fn cookie_from(address: &str, number: usize) -> String {
    format!("{}X-Forwarded-For: {address}\r\n", cookie(number))
}

/// An open stream whose `retry:` frame has been read.
fn stream(server: &TestServer, lines: &str) -> Stream {
    let mut stream = ask(server, lines);
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream.begin();
    stream
}

fn wait_for_handshakes(server: &TestServer, count: u32) {
    server.wait_for_metric("idlewild_handshakes_in_flight", f64::from(count));
}

#[track_caller]
fn is_unavailable(answer: &mut Stream) {
    assert_eq!(answer.status, 503, "{}", answer.head);
    assert_eq!(answer.header("retry-after"), Some("6"));
    assert_eq!(answer.body(), UNAVAILABLE);
}

#[test]
fn the_application_identifies_the_user_of_a_session() {
    for (reply, user) in [
        (Reply::body(200, "{\"user_id\": \"42\"}"), "42"),
        (Reply::body(200, "{\"user_id\": 42}"), "42"),
        (Reply::body(200, "\u{feff}{\"user_id\": 43}"), "43"),
        (
            Reply::body(200, "{\"user_id\": 184467440737095516150}"),
            "184467440737095516150",
        ),
        (
            Reply::body(200, "{\"name\": \"Ada\", \"user_id\": \"a-b\"}"),
            "a-b",
        ),
    ] {
        let backend = Backend::start(reply);
        let server = server(&backend);
        let mut stream = stream(&server, COOKIE);
        let id = server.publish(&json!({"to": {"user": user}, "data": 1}));
        let event = format!("id: {id}\nevent: message\ndata: 1\n\n");
        assert_eq!(stream.next().unwrap(), event);
    }
}

#[test]
fn cookies_authorization_and_the_address_are_forwarded_and_nothing_else() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.secret = None;
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        // Only these pages may open a WebSocket with a cookie.
        config.cors.origins = vec!["http://app".parse().unwrap()];
    });
    let lines = "Cookie: sessionid=1; theme=dark\r\nAuthorization: Basic dTpw\r\n\
                 Cookie: csrftoken=2\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nOrigin: http://app\r\n\
                 User-Agent: Browser/1.0\r\nAccept: text/event-stream\r\nX-Other: 1\r\n";
    assert_eq!(ask(&server, lines).status, 200);
    let question = &backend.questions()[0];
    assert_eq!(question.request_line, "GET /asked?by=test HTTP/1.1");
    let agent = format!("idlewild/{}", env!("CARGO_PKG_VERSION"));
    let url = backend.url();
    let host = url.split('/').nth(2).unwrap();
    let expected = [
        ("accept", vec!["application/json"]),
        ("authorization", vec!["Basic dTpw"]),
        ("cookie", vec!["sessionid=1; theme=dark; csrftoken=2"]),
        ("host", vec![host]),
        ("user-agent", vec![agent.as_str()]),
        ("x-forwarded-for", vec!["1.2.3.4"]),
    ];
    let fields = question.fields.iter();
    let fields: Vec<(&str, Vec<&str>)> = fields
        .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(fields, expected);
}

#[test]
fn a_session_that_the_application_rejects_is_refused() {
    for status in [401, 403] {
        let backend = Backend::start(Reply::body(status, "{\"user_id\": \"42\"}"));
        let server = server(&backend);
        for _ in 0..3 {
            let mut answer = ask(&server, COOKIE);
            assert_eq!(answer.status, 401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(
                answer.body(),
                "event: error\ndata: {\"error\": \"Authentication required\"}\n\n"
            );
        }
        assert_eq!(backend.asked(), 1, "a refusal is remembered");
        backend.reply(signs_in("42"));
        server.advance(KEPT);
        assert_eq!(ask(&server, COOKIE).status, 200);
        let refused = server.metric("idlewild_refused_total{reason=\"auth\"}");
        assert_eq!(refused, Some(3.0));
    }
}

#[test]
fn the_application_is_asked_only_without_another_credential() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
    });
    let refused = [
        "",
        "X-Session: 1\r\n",
        "Cookie: theme=dark; sessionid2=1; sessionid=\r\n",
        "Authorization: Bearer bad\r\nCookie: sessionid=1\r\n",
        "Authorization: Bearer\r\nCookie: sessionid=1\r\n",
        "Cookie: sessionid=1; access_token=bad\r\n",
    ];
    for lines in refused {
        assert_eq!(ask(&server, lines).status, 401, "{lines}");
    }
    for query in ["?token=bad", "?ticket=bad"] {
        let mut client = server.connect();
        client.get(&format!("{NOTIFICATIONS}{query}"), COOKIE);
        assert_eq!(client.stream().status, 401, "{query}");
    }
    let bearer = format!("Authorization: Bearer {}\r\n{COOKIE}", server.token("7"));
    assert_eq!(ask(&server, &bearer).status, 200);
    assert_eq!(backend.asked(), 0);
    for lines in ["Authorization: Basic dTpw\r\n", "Cookie: sessionid=1\r\n"] {
        assert_eq!(ask(&server, lines).status, 200, "{lines}");
    }
    assert_eq!(backend.asked(), 2);
}

#[test]
fn without_a_key_every_token_is_refused() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let signed = TestServer::start().token("42");
    let lines = format!("Authorization: Bearer {signed}\r\n{COOKIE}");
    assert_eq!(ask(&server, &lines).status, 401);
    assert_eq!(backend.asked(), 0);
}

#[test]
fn a_session_cannot_be_exchanged_for_a_ticket() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let headers = [("Cookie", "sessionid=1")];
    let path = format!("{BASE}/sse/ticket/");
    let answer = request(server.public, "POST", &path, &headers, "");
    assert_eq!((answer.status, backend.asked()), (401, 0));
}

#[test]
fn an_unusable_answer_is_503_and_not_cached() {
    let elsewhere = Backend::start(signs_in("42"));
    let location = elsewhere.url();
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"user_id\": \"42\"}".to_vec();
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"use\r\n".to_vec();
    let padded = |bytes: usize| {
        Reply::body(
            200,
            &format!("{{\"user_id\": \"42\"{}}}", " ".repeat(bytes - 17)),
        )
    };
    let said_nothing = [
        ("a status", Reply::status(500)),
        ("another success", Reply::body(201, "{\"user_id\": \"42\"}")),
        ("no content", Reply::status(204)),
        ("not found", Reply::status(404)),
        ("a redirect", Reply::Bytes(redirect.into_bytes())),
        ("a short body", Reply::Last(short)),
        ("a short chunk", Reply::Last(chunks)),
        ("nothing", Reply::Last(Vec::new())),
        ("no HTTP", Reply::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("a long body", padded(MAX_ANSWER_BYTES + 1)),
        ("no JSON", Reply::body(200, "<html>")),
        ("no user", Reply::body(200, "{\"user\": 42}")),
        ("an empty user", Reply::body(200, "{\"user_id\": \"\"}")),
        ("a list", Reply::body(200, "[42]")),
        (
            "two marks",
            Reply::body(200, "\u{feff}\u{feff}{\"user_id\": 42}"),
        ),
        ("a long user", signs_in(&"x".repeat(257))),
        ("a control character", signs_in("4\n2")),
    ];
    let backend = Backend::start(Reply::status(500));
    let server = server(&backend);
    for (number, (what, reply)) in (1..).zip(said_nothing) {
        backend.reply(reply);
        let mut answer = ask(&server, COOKIE);
        assert_eq!(answer.status, 503, "{what}");
        is_unavailable(&mut answer);
        assert_eq!(backend.asked(), number, "{what}");
    }
    let refused = server.metric("idlewild_refused_total{reason=\"auth\"}");
    assert_eq!(refused, Some(17.0));
    backend.reply(padded(10_000));
    assert_eq!(ask(&server, COOKIE).status, 200);
    assert_eq!(elsewhere.asked(), 0, "a redirect is not followed");
}

#[test]
fn an_application_that_never_answers_delays_a_client_by_two_seconds() {
    let backend = Backend::start(Reply::Nothing);
    let server = server(&backend);
    let client = send(&server, COOKIE);
    backend.wait_until_asked(1);
    server.advance(Duration::from_millis(1_999));
    wait_for_handshakes(&server, 1);
    server.advance(Duration::from_millis(1));
    is_unavailable(&mut client.stream());
}

#[test]
fn an_answer_that_arrives_in_pieces_has_the_same_two_seconds() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"user_id\"".to_vec();
    let backend = Backend::start(Reply::Bytes(head));
    let server = server(&backend);
    let client = send(&server, COOKIE);
    backend.wait_until_asked(1);
    server.advance(MAX_WAIT);
    is_unavailable(&mut client.stream());
}

#[test]
fn an_answer_is_cached_for_five_seconds_for_the_same_headers() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let first = stream(&server, COOKIE);
    // From now on, the application returns another user.
    backend.reply(signs_in("7"));
    server.advance(Duration::from_millis(4_999));
    drop(stream(&server, COOKIE));
    assert_eq!(backend.asked(), 1);
    drop(stream(&server, "Cookie: sessionid=other\r\n"));
    let with_more = format!("{COOKIE}Authorization: Basic dTpw\r\n");
    drop(stream(&server, &with_more));
    assert_eq!(backend.asked(), 3);
    server.advance(Duration::from_millis(1));
    drop(stream(&server, COOKIE));
    assert_eq!(backend.asked(), 4);
    drop(first);
}

#[test]
fn clients_with_the_same_cookies_share_a_request() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.max_connections_per_user = 20;
    });
    backend.hold();
    let mut waiting: Vec<_> = (0..20).map(|_| send(&server, COOKIE)).collect();
    wait_for_handshakes(&server, 20);
    backend.wait_until_asked(1);
    // One of the clients leaves, and the others are not affected.
    drop(waiting.remove(0));
    wait_for_handshakes(&server, 19);
    backend.release();
    for client in waiting {
        assert_eq!(client.stream().status, 200);
    }
    assert_eq!(backend.asked(), 1);
}

#[test]
fn the_answer_for_a_client_that_left_is_used_for_the_next() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    backend.hold();
    let first = send(&server, COOKIE);
    backend.wait_until_asked(1);
    drop(first);
    wait_for_handshakes(&server, 0);
    let next = send(&server, COOKIE);
    wait_for_handshakes(&server, 1);
    backend.release();
    assert_eq!(next.stream().status, 200);
    assert_eq!(backend.asked(), 1);
}

#[test]
fn questions_beyond_the_limit_wait_for_their_turn() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.max_connections_per_user = 100;
    });
    backend.hold();
    let storm: Vec<_> = (0..100)
        .map(|number| {
            let address = format!("10.0.0.{}", number % 20);
            send(&server, &cookie_from(&address, number))
        })
        .collect();
    wait_for_handshakes(&server, 100);
    backend.wait_until_asked(MAX_QUESTIONS);
    backend.release();
    for client in storm {
        assert_eq!(client.stream().status, 200);
    }
    assert_eq!(backend.asked(), 100);
    assert_eq!(backend.most_waiting(), MAX_QUESTIONS);
}

#[test]
fn clients_of_an_application_that_never_answers_get_503_and_leave_nothing() {
    let backend = Backend::start(Reply::Nothing);
    let server = server(&backend);
    let storm: Vec<_> = (0..MAX_QUESTIONS + 8)
        .map(|number| send(&server, &cookie_from(&format!("10.0.0.{number}"), number)))
        .collect();
    backend.wait_until_asked(MAX_QUESTIONS);
    eventually("all are told", || {
        server.advance(Duration::from_millis(500));
        server.metric("idlewild_refused_total{reason=\"auth\"}") == Some(40.0)
    });
    for client in storm {
        is_unavailable(&mut client.stream());
    }
    backend.reply(signs_in("42"));
    assert_eq!(ask(&server, &cookie(0)).status, 200, "turns come back");
}

#[test]
fn a_question_without_waiting_clients_is_dropped() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.max_connections_per_user = 100;
    });
    backend.hold();
    let first: Vec<_> = (0..MAX_QUESTIONS_EACH)
        .map(|number| send(&server, &cookie(number)))
        .collect();
    backend.wait_until_asked(MAX_QUESTIONS_EACH);
    let impatient = send(&server, "Cookie: sessionid=impatient\r\n");
    wait_for_handshakes(&server, 9);
    drop(impatient);
    wait_for_handshakes(&server, 8);
    let last = send(&server, "Cookie: sessionid=last\r\n");
    wait_for_handshakes(&server, 9);
    backend.release();
    for client in first.into_iter().chain([last]) {
        assert_eq!(client.stream().status, 200);
    }
    let asked = backend.questions();
    assert_eq!(asked.len(), MAX_QUESTIONS_EACH + 1);
    assert_eq!(asked.last().unwrap().fields["cookie"], ["sessionid=last"]);
}

#[test]
fn an_address_has_a_share_of_the_turns_and_delays_no_others() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.max_connections_per_user = 100;
    });
    backend.hold();
    let busy: Vec<_> = (0..40)
        .map(|number| send(&server, &cookie_from("10.0.0.1", number)))
        .collect();
    wait_for_handshakes(&server, 40);
    backend.wait_until_asked(MAX_QUESTIONS_EACH);
    let other = send(&server, &cookie_from("10.0.0.2", 100));
    backend.wait_until_asked(MAX_QUESTIONS_EACH + 1);
    let asked = backend.questions();
    assert_eq!(asked.len(), MAX_QUESTIONS_EACH + 1);
    assert_eq!(asked.last().unwrap().fields["cookie"], ["sessionid=100"]);
    backend.release();
    for client in busy.into_iter().chain([other]) {
        assert_eq!(client.stream().status, 200);
    }
    assert_eq!(backend.most_waiting(), MAX_QUESTIONS_EACH + 1);
}

/// An application that accepts the sessions from number 1,000 on.
fn application() -> Backend {
    Backend::answering(|question| {
        let cookie = question.fields["cookie"][0].replace("sessionid=", "");
        let number: usize = cookie.parse().unwrap();
        if number < 1_000 {
            Reply::status(401)
        } else {
            signs_in(&number.to_string())
        }
    })
}

#[test]
fn random_cookies_from_one_address_block_no_session_and_are_soon_not_checked() {
    let backend = application();
    let server = server(&backend);
    let most = usize::try_from(MAX_REFUSALS).unwrap();
    let mut real = Vec::new();
    for number in 0..600 {
        let status = ask(&server, &cookie_from("10.0.0.66", number)).status;
        assert_eq!(status, if number < most { 401 } else { 503 }, "{number}");
        if number % 50 == 0 {
            let session = cookie_from(&format!("10.0.1.{}", number / 50), 1_000 + number);
            real.push(stream(&server, &session));
        }
    }
    assert_eq!(real.len(), 12);
    assert_eq!(backend.asked(), most + 12);
    // Later, the application is asked again about this address, one session at a time.
    server.advance(REFUSAL_EVERY);
    assert_eq!(ask(&server, &cookie_from("10.0.0.66", 600)).status, 401);
    assert_eq!(ask(&server, &cookie_from("10.0.0.66", 601)).status, 503);
    assert_eq!(backend.asked(), most + 13);
}

#[test]
fn not_all_random_cookies_that_wait_together_are_checked() {
    let backend = application();
    let server = server(&backend);
    backend.hold();
    let flood: Vec<_> = (0..300)
        .map(|number| send(&server, &cookie_from("10.0.0.66", number)))
        .collect();
    wait_for_handshakes(&server, 300);
    backend.wait_until_asked(MAX_QUESTIONS_EACH);
    let real = send(&server, &cookie_from("10.0.0.1", 1_000));
    backend.wait_until_asked(MAX_QUESTIONS_EACH + 1);
    backend.release();
    assert_eq!(real.stream().status, 200);
    let mut refused = 0;
    for client in flood {
        let status = client.stream().status;
        assert!(status == 401 || status == 503, "{status}");
        refused += u64::from(status == 401);
    }
    assert_eq!(refused, MAX_REFUSALS);
    assert_eq!(backend.asked() as u64, MAX_REFUSALS + 1);
}

#[test]
fn valid_sessions_use_up_no_allowance() {
    let backend = application();
    let server = server(&backend);
    for number in 1_000..1_300 {
        assert_eq!(ask(&server, &cookie(number)).status, 200, "{number}");
    }
    assert_eq!(backend.asked(), 300);
}

#[test]
fn only_the_session_cookies_distinguish_requests() {
    let backend = Backend::start(signs_in("42"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.auth.session_cookie = ["sid", "tenant"].map(|name| name.parse().unwrap()).into();
    });
    for (lines, asked) in [
        ("Cookie: sid=1; tenant=a; theme=dark\r\n", 1),
        (
            "Cookie: theme=light; sid=1\r\nCookie: tenant=a; _ga=2\r\n",
            1,
        ),
        ("Cookie: sid=1; tenant=b\r\n", 2),
        ("Cookie: sid=1\r\n", 3),
        ("Cookie: tenant=a\r\n", 4),
    ] {
        drop(stream(&server, lines));
        assert_eq!(backend.asked(), asked, "{lines}");
    }
    assert_eq!(ask(&server, COOKIE).status, 401);
    assert_eq!(backend.asked(), 4);
}

#[test]
fn after_a_log_out_the_application_is_asked_again() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let mut logged_out = stream(&server, COOKIE);
    server.advance(Duration::from_millis(1));
    let answer = server.admin("POST", "/v1/users/42/logout", "{}");
    assert_eq!(answer.status / 100, 2, "{}", answer.body);
    assert!(logged_out.next().unwrap().contains("FORCE_LOGOUT"));
    assert_eq!(logged_out.next(), None);
    // The cached response is from before the log-out, so the application is asked again.
    server.advance(Duration::from_millis(1));
    assert_eq!(ask(&server, COOKIE).status, 200);
    assert_eq!(backend.asked(), 2);
    server.advance(Duration::from_millis(1));
    server.admin("POST", "/v1/users/42/logout", "{}");
    backend.reply(Reply::status(403));
    server.advance(Duration::from_millis(1));
    assert_eq!(ask(&server, COOKIE).status, 401);
    assert_eq!(backend.asked(), 3);
}

#[test]
fn a_log_out_while_the_clock_was_fast_blocks_no_later_session() {
    let backend = Backend::start(signs_in("42"));
    let directory = tempfile::tempdir().unwrap();
    let server_at = |unix_ms| {
        TestServer::at(unix_ms, |config| {
            config.auth.secret = None;
            config.auth.session_auth_url = Some(backend.url().parse().unwrap());
            config.history.path = Some(directory.path().join("history"));
        })
    };
    let log_out = |server: &TestServer| {
        let answer = server.admin("POST", "/v1/users/42/logout", "{}");
        assert_eq!(answer.status / 100, 2, "{}", answer.body);
    };
    let fast = server_at(START_UNIX_MS + 24 * 3_600_000);
    log_out(&fast);
    drop(fast);
    // The clock is correct again, and ids continue from the highest one.
    let server = server_at(START_UNIX_MS);
    let mut streams = [(); 2].map(|()| stream(&server, COOKIE));
    assert_eq!(backend.asked(), 1);
    // All of this happens within a millisecond.
    log_out(&server);
    for stream in &mut streams {
        assert!(stream.next().unwrap().contains("FORCE_LOGOUT"));
    }
    // The cached response is from before the log-out, and a new one is not.
    assert_eq!(ask(&server, COOKIE).status, 200);
    assert_eq!(backend.asked(), 2);
    log_out(&server);
    backend.reply(Reply::status(403));
    assert_eq!(ask(&server, COOKIE).status, 401);
    assert_eq!(backend.asked(), 3);
    // A question that is in flight is from before the change as well.
    backend.reply(signs_in("42"));
    backend.hold();
    let client = send(&server, "Cookie: sessionid=other\r\n");
    backend.wait_until_asked(4);
    let answer = server.admin("PUT", "/v1/users/42/session", "{\"session_id\": \"new\"}");
    assert_eq!(answer.status / 100, 2, "{}", answer.body);
    backend.release();
    assert_eq!(client.stream().status, 401);
}

#[test]
fn a_log_out_during_a_question_takes_precedence_over_its_answer() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    backend.hold();
    let client = send(&server, COOKIE);
    backend.wait_until_asked(1);
    server.advance(Duration::from_millis(1));
    server.admin("POST", "/v1/users/42/logout", "{}");
    server.advance(Duration::from_millis(1));
    backend.release();
    assert_eq!(client.stream().status, 401);
    server.advance(Duration::from_millis(1));
    assert_eq!(ask(&server, COOKIE).status, 200);
    assert_eq!(backend.asked(), 2);
}

#[test]
fn a_session_change_ends_streams_of_sessions_without_a_name() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let mut other = stream(&server, COOKIE);
    let answer = server.admin("PUT", "/v1/users/42/session", "{\"session_id\": \"new\"}");
    assert_eq!(answer.status / 100, 2, "{}", answer.body);
    assert!(other.next().unwrap().contains("FORCE_LOGOUT"));
    assert_eq!(other.next(), None);
}

#[test]
fn the_limit_per_user_applies_to_sessions() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let streams: Vec<_> = (0..6).map(|_| ask(&server, COOKIE)).collect();
    let statuses: Vec<_> = streams.iter().map(|stream| stream.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
}

#[test]
fn a_session_allows_no_topics_and_does_not_expire() {
    let backend = Backend::start(signs_in("42"));
    let server = server(&backend);
    let mut client = server.connect();
    client.get(&format!("{NOTIFICATIONS}?topic=news"), COOKIE);
    assert_eq!(client.stream().status, 403);
    let mut stream = stream(&server, COOKIE);
    server.advance(Duration::from_secs(366 * 24 * 3_600));
    assert_eq!(stream.next().unwrap(), heartbeat(&stream.position));
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    let event = format!("id: {id}\nevent: message\ndata: 1\n\n");
    eventually("the stream lives", || stream.next().unwrap() == event);
}

/// The configuration of a process that uses this backend and also has a secret.
fn config_of(backend: &Backend, more: &str) -> String {
    format!(
        "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]\n{more}\n\
         [auth]\nsecret = \"{SECRET}\"\nsession_auth_url = \"{}\"\n\
         [admin]\napi_key = \"{API_KEY}\"\n",
        backend.url()
    )
}

fn status_in(process: &Process, lines: &str) -> u16 {
    let mut client = Client::connect(process.public());
    client.get(NOTIFICATIONS, lines);
    client.stream().status
}

#[test]
fn a_reload_keeps_the_cache_unless_the_url_changes() {
    let backend = Backend::start(signs_in("42"));
    let process = Process::serve_config(&config_of(&backend, ""));
    let reload = |times: usize| {
        process.signal(Signal::HUP);
        eventually("it is reloaded", || {
            process.log().matches("reloaded").count() == times
        });
    };
    assert_eq!(status_in(&process, COOKIE), 200);
    reload(1);
    assert_eq!(status_in(&process, COOKIE), 200);
    assert_eq!(backend.asked(), 1);
    let other = Backend::start(Reply::status(403));
    std::fs::write(process.config_file(), config_of(&other, "")).unwrap();
    reload(2);
    assert_eq!(status_in(&process, COOKIE), 401);
    assert_eq!((backend.asked(), other.asked()), (1, 1));
}

#[test]
fn sessions_are_checked_where_every_shard_has_its_own_descriptors() {
    let backend = Backend::start(signs_in("42"));
    let more = "fd_tables = \"per-shard\"\nshards = 2\nmax_connections = 200";
    let process = Process::serve_config(&config_of(&backend, more));
    for number in 0..50 {
        assert_eq!(status_in(&process, &cookie(number)), 200, "{number}");
    }
    assert_eq!(backend.asked(), 50);
}

#[test]
fn no_log_shows_a_cookie() {
    for format in ["text", "json"] {
        let backend = Backend::start(signs_in("42"));
        let more = format!("log_level = \"trace\"\nlog_format = \"{format}\"");
        let process = Process::serve_config(&config_of(&backend, &more));
        let lines = "Cookie: sessionid=hunter2\r\nAuthorization: Basic hunter2\r\n";
        assert_eq!(status_in(&process, lines), 200);
        let lines = "Cookie: sessionid=hunter2; other=1\r\n";
        for (reply, status) in [
            (Reply::body(200, "hunter2"), 503),
            (Reply::body(200, "{\"user_id\": \"hunter2\\n\"}"), 503),
            (Reply::body(500, "hunter2"), 503),
            (
                Reply::Last(b"HTTP/1.1 200 hunter2\r\nhunter2\r\n\r\n".to_vec()),
                503,
            ),
            (Reply::body(401, "hunter2"), 401),
        ] {
            backend.reply(reply);
            assert_eq!(status_in(&process, lines), status);
        }
        let log = process.log();
        assert!(log.contains("a session was not checked"), "{log}");
        assert!(
            !log.contains("hunter2") && !log.contains("by=test"),
            "{log}"
        );
    }
}
