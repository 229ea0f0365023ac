//! The built-in login.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, BASE, NOTIFICATIONS, TestServer, request};

const EMAIL: &str = "user@example.com";

fn post(server: &TestServer, from: &str, body: &str) -> Answer {
    let path = format!("{BASE}/login/");
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Forwarded-For", from),
    ];
    request(server.public, "POST", &path, &headers, body)
}

fn log_in_from(server: &TestServer, from: &str, email: &str, password: &str) -> Answer {
    post(
        server,
        from,
        &json!({"email": email, "password": password}).to_string(),
    )
}

fn log_in(server: &TestServer, password: &str) -> Answer {
    log_in_from(server, "192.0.2.1", EMAIL, password)
}

fn access(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["access"].as_str().unwrap().to_owned()
}

#[test]
fn the_login_in_the_guide_returns_a_token_that_opens_a_stream() {
    let server = TestServer::start();
    // Exactly the bytes that curl sends for the example in the guide.
    let answer = post(
        &server,
        "192.0.2.1",
        "{\"email\": \"user@example.com\", \"password\": \"password\"}",
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = access(&answer);
    assert_eq!(answer.json()["user"], json!({"id": 1, "email": EMAIL}));
    assert_eq!(answer.json().as_object().unwrap().len(), 2);
    let mut stream = server.stream_of(&token);
    let id = server.publish(&json!({"to": {"user": "1"}, "data": "hello"}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: hello\n\n")
    );
}

#[test]
fn responses_of_the_login_may_not_be_cached() {
    let server = TestServer::start();
    for body in [
        "{}",
        "{\"email\": \"user@example.com\", \"password\": \"wrong\"}",
    ] {
        let answer = post(&server, "192.0.2.1", body);
        assert!(answer.status >= 400, "{}", answer.status);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{body}");
    }
}

#[test]
fn the_email_address_is_case_insensitive() {
    let server = TestServer::start();
    access(&log_in_from(
        &server,
        "192.0.2.1",
        "User@Example.COM",
        "password",
    ));
}

#[test]
fn a_wrong_email_address_and_a_wrong_password_get_the_same_response() {
    let server = TestServer::start();
    let wrong = [
        log_in(&server, "passw0rd"),
        log_in(&server, ""),
        log_in_from(&server, "192.0.2.1", "nobody@example.com", "password"),
    ];
    for answer in &wrong {
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.body, wrong[0].body);
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn a_malformed_login_is_a_bad_request() {
    let server = TestServer::start();
    let deep = "[".repeat(4_000);
    for body in [
        "",
        "{",
        "null",
        "[]",
        "email=user@example.com&password=password",
        "{\"email\": \"user@example.com\"}",
        "{\"email\": 1, \"password\": \"password\"}",
        "{\"email\": \"user@example.com\", \"password\": null}",
        &deep,
    ] {
        let answer = post(&server, "192.0.2.1", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    // None of these requests counts as an attempt.
    access(&log_in(&server, "password"));
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_client_can_read_the_response() {
    let server = TestServer::start();
    for bytes in [5_000, 200_000] {
        let answer = log_in(&server, &"a".repeat(bytes));
        assert_eq!(answer.status, 413, "{bytes}");
        assert!(answer.json()["error"].is_string());
    }
    let mut client = server.connect();
    client.send(format!(
        "POST {BASE}/login/ HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    client.send(format!("1388\r\n{}\r\n0\r\n\r\n", "a".repeat(5_000)));
    assert_eq!(client.stream().status, 413);
}

fn assert_limited(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert!(answer.json()["error"].is_string());
}

#[test]
fn after_five_failures_an_account_is_blocked_for_a_minute_from_all_addresses() {
    let server = TestServer::start();
    for number in 0..5 {
        let from = format!("192.0.2.{number}");
        assert_eq!(log_in_from(&server, &from, EMAIL, "wrong").status, 401);
    }
    assert_limited(&log_in_from(&server, "192.0.2.9", EMAIL, "password"));
    assert_limited(&log_in_from(
        &server,
        "192.0.2.9",
        "USER@example.com",
        "password",
    ));
    // Another account is not affected.
    assert_eq!(
        log_in_from(&server, "192.0.2.9", "b@example.com", "wrong").status,
        401
    );
    // A shared store has a clock of its own, which the tests' clock shifts to within milliseconds.
    server.advance(Duration::from_secs(59));
    assert_limited(&log_in_from(&server, "192.0.2.9", EMAIL, "password"));
    server.advance(Duration::from_secs(2));
    access(&log_in_from(&server, "192.0.2.9", EMAIL, "password"));
}

#[test]
fn after_five_failures_an_address_is_blocked_for_a_minute_for_all_accounts() {
    let server = TestServer::start();
    for number in 0..5 {
        let email = format!("guess{number}@example.com");
        assert_eq!(
            log_in_from(&server, "192.0.2.1", &email, "wrong").status,
            401
        );
    }
    assert_limited(&log_in_from(&server, "192.0.2.1", EMAIL, "password"));
    access(&log_in_from(&server, "192.0.2.2", EMAIL, "password"));
    server.advance(Duration::from_secs(61));
    access(&log_in_from(&server, "192.0.2.1", EMAIL, "password"));
}

#[test]
fn successful_logins_do_not_count() {
    let server = TestServer::start();
    for _ in 0..12 {
        access(&log_in(&server, "password"));
    }
    for _ in 0..4 {
        assert_eq!(log_in(&server, "wrong").status, 401);
        access(&log_in(&server, "password"));
    }
}

#[test]
fn concurrent_attempts_get_no_more_guesses_than_sequential_ones() {
    for _ in 0..5 {
        let server = TestServer::start();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let server = &server;
            let trying: Vec<_> = (0..40)
                .map(|_| scope.spawn(|| log_in(server, "wrong").status))
                .collect();
            trying
                .into_iter()
                .map(|tried| tried.join().unwrap())
                .collect()
        });
        let count = |status| statuses.iter().filter(|one| **one == status).count();
        assert_eq!((count(401), count(429)), (5, 35));
    }
}

#[test]
fn a_login_ends_the_previous_session() {
    let server = TestServer::start();
    let first = access(&log_in(&server, "password"));
    let mut stream = server.stream_of(&first);
    let other = server.stream("2");
    server.advance(Duration::from_secs(1));
    let second = access(&log_in(&server, "password"));
    let frame = stream.next().unwrap();
    let lines: Vec<&str> = frame.lines().collect();
    assert!(lines[0].starts_with("id: "), "{frame}");
    assert_eq!(lines[1], "event: message");
    let event: Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["type"], "FORCE_LOGOUT");
    assert!(event["data"]["message"].is_string(), "{event}");
    assert!(event["data"]["reason"].is_string(), "{event}");
    assert_eq!(stream.next(), None);
    assert!(stream.is_complete);
    assert_eq!(
        server
            .open(&format!("{NOTIFICATIONS}?token={first}"))
            .status,
        401
    );
    assert_eq!(server.stream_of(&second).status, 200);
    server.wait_for_metric("idlewild_disconnects_total{reason=\"logged_out\"}", 1.0);
    drop(other);
}

#[test]
fn a_failed_login_ends_no_session() {
    let server = TestServer::start();
    let mut stream = server.stream_of(&access(&log_in(&server, "password")));
    assert_eq!(log_in(&server, "wrong").status, 401);
    let id = server.publish(&json!({"to": {"user": "1"}, "data": 1}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: 1\n\n")
    );
}
