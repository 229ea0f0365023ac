//! One current session per user: which connections are ended, and which tokens are refused.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{BASE, NOTIFICATIONS, START_UNIX_MS, Stream, TestServer, eventually, request};

fn put_session(server: &TestServer, user: &str, body: &Value) -> String {
    let path = format!("/v1/users/{user}/session");
    let answer = server.admin("PUT", &path, &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn status(server: &TestServer, token: &str) -> u16 {
    server
        .open(&format!("{NOTIFICATIONS}?token={token}"))
        .status
}

fn forced_logout(id: &str, message: &str, reason: &str) -> String {
    format!(
        "id: {id}\nevent: message\ndata: {{\"type\":\"FORCE_LOGOUT\",\"data\":{{\"message\":\"{message}\",\"reason\":\"{reason}\"}}}}\n\n"
    )
}

#[test]
fn a_session_change_ends_every_other_connection_with_force_logout() {
    let server = TestServer::start();
    let of = |session| server.stream_of(&server.token_with("42", session, &[]));
    let mut others = [of(Some("old")), of(Some("older")), of(None)];
    let mut current = of(Some("new"));
    let mut stranger = server.stream("43");
    let id = put_session(
        &server,
        "42",
        &json!({"session_id": "new", "message": "Bye"}),
    );
    for stream in &mut others {
        assert_eq!(stream.rest(), [forced_logout(&id, "Bye", "new_login")]);
    }
    server.wait_for_metric("idlewild_disconnects_total{reason=\"logged_out\"}", 3.0);
    server.publish(&json!({"to": {"all": true}, "data": "on"}));
    assert!(current.next().unwrap().contains("data: on\n"));
    assert!(stranger.next().unwrap().contains("data: on\n"));
    let presence = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(presence["connections"].as_array().unwrap().len(), 1);
    assert_eq!(presence["connections"][0]["session"], "new");
}

#[test]
fn a_session_may_be_an_integer_as_in_tokens() {
    let server = TestServer::start();
    let mut other = server.stream_of(&server.token_with("42", Some("7"), &[]));
    put_session(&server, "42", &json!({"session_id": 8}));
    assert_eq!(other.rest().len(), 1);
    assert_eq!(
        status(&server, &server.token_with("42", Some("7"), &[])),
        401
    );
    assert_eq!(
        status(&server, &server.token_with("42", Some("8"), &[])),
        200
    );
}

#[test]
fn a_session_change_without_texts_gets_default_texts() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    put_session(&server, "42", &json!({"session_id": "new"}));
    let frames = stream.rest();
    let data = frames[0]
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["type"], "FORCE_LOGOUT");
    assert!(!event["data"]["message"].as_str().unwrap().is_empty());
    assert!(!event["data"]["reason"].as_str().unwrap().is_empty());
}

#[test]
fn what_was_published_before_the_change_comes_before_the_end_and_nothing_after_it() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    for n in 0..50 {
        server.publish(&json!({"to": {"user": "42"}, "data": n}));
    }
    put_session(&server, "42", &json!({"session_id": "new"}));
    server.publish(&json!({"to": {"user": "42"}, "data": "late"}));
    let frames = stream.rest();
    assert_eq!(frames.len(), 51);
    for (n, frame) in frames.iter().take(50).enumerate() {
        assert!(frame.contains(&format!("data: {n}\n")), "{frame}");
    }
    assert!(frames[50].contains("FORCE_LOGOUT"));
}

#[test]
fn other_sessions_and_older_tokens_without_a_session_are_refused() {
    let server = TestServer::start();
    let token = |session| server.token_with("42", session, &[]);
    let (old, nameless, new) = (token(Some("old")), token(None), token(Some("new")));
    server.advance(Duration::from_secs(5));
    put_session(&server, "42", &json!({"session_id": "new"}));
    for refused in [&old, &nameless] {
        let mut stream = server.open(&format!("{NOTIFICATIONS}?token={refused}"));
        assert_eq!(stream.status, 401);
        assert_eq!(stream.header("www-authenticate"), Some("Bearer"));
        assert!(stream.next().unwrap().contains("Authentication required"));
    }
    assert_eq!(status(&server, &new), 200);
    server.advance(Duration::from_secs(2));
    // Issued later: tokens of the other session are still refused, but those without a session are valid.
    assert_eq!(
        status(&server, &server.token_with("42", Some("old"), &[])),
        401
    );
    assert_eq!(status(&server, &server.token_with("42", None, &[])), 200);
    assert_eq!(status(&server, &nameless), 401);
    // The next change replaces the first.
    put_session(&server, "42", &json!({"session_id": "newer"}));
    assert_eq!(status(&server, &new), 401);
    assert_eq!(
        status(&server, &server.token_with("42", Some("newer"), &[])),
        200
    );
    // Other users are not affected.
    assert_eq!(
        status(&server, &server.token_with("43", Some("old"), &[])),
        200
    );
}

#[test]
fn a_log_out_ends_all_connections_and_all_tokens_issued_until_then() {
    let server = TestServer::start();
    put_session(&server, "42", &json!({"session_id": "mine"}));
    server.advance(Duration::from_secs(2));
    let named = server.token_with("42", Some("mine"), &[]);
    let nameless = server.token("42");
    let mut streams = [server.stream_of(&named), server.stream_of(&nameless)];
    let body = r#"{"message": "Account closed", "reason": "closed"}"#;
    let answer = server.admin("POST", "/v1/users/42/logout", body);
    assert_eq!(answer.status, 200);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    for stream in &mut streams {
        assert_eq!(
            stream.rest(),
            [forced_logout(&id, "Account closed", "closed")]
        );
    }
    assert_eq!(status(&server, &named), 401);
    assert_eq!(status(&server, &nameless), 401);
    server.advance(Duration::from_secs(1));
    assert_eq!(
        status(&server, &server.token_with("42", Some("mine"), &[])),
        200
    );
    assert_eq!(status(&server, &server.token("42")), 200);
    assert_eq!(status(&server, &named), 401);
}

#[test]
fn a_log_out_of_an_offline_user_revokes_their_tokens() {
    let server = TestServer::start();
    let token = server.token("42");
    assert_eq!(server.admin("POST", "/v1/users/42/logout", "").status, 200);
    assert_eq!(status(&server, &token), 401);
}

#[test]
fn registering_the_session_again_does_not_undo_a_log_out() {
    let server = TestServer::start();
    let token = server.token_with("42", Some("mine"), &[]);
    put_session(&server, "42", &json!({"session_id": "mine"}));
    server.advance(Duration::from_secs(1));
    server.admin("POST", "/v1/users/42/logout", "");
    server.advance(Duration::from_secs(1));
    put_session(&server, "42", &json!({"session_id": "mine"}));
    assert_eq!(status(&server, &token), 401);
    // The clock of the token's issuer may be ahead by the leeway.
    server.advance(Duration::from_secs(3));
    assert_eq!(
        status(&server, &server.token_with("42", Some("mine"), &[])),
        401
    );
    server.advance(Duration::from_secs(2));
    assert_eq!(
        status(&server, &server.token_with("42", Some("mine"), &[])),
        200
    );
    assert_eq!(status(&server, &token), 401);
}

fn now_s(server: &TestServer) -> u64 {
    server.clock.unix_ms() / 1_000
}

/// The status for a token of user 42 with these claims.
fn status_of(server: &TestServer, claims: &Value) -> u16 {
    let mut claims = claims.clone();
    claims["user_id"] = json!("42");
    claims["exp"] = json!(now_s(server) + 600);
    let secret = server.config.auth.secret.as_ref().unwrap();
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    status(server, &token)
}

#[test]
fn a_login_right_after_a_log_out_works_though_the_issuers_clock_is_slow() {
    let server = TestServer::start();
    put_session(&server, "42", &json!({"session_id": "old"}));
    server.advance(Duration::from_secs(60));
    server.admin("POST", "/v1/users/42/logout", "");
    put_session(&server, "42", &json!({"session_id": "new"}));
    let now_s = now_s(&server);
    for slow_s in [0, 1, 4] {
        let claims = json!({"session_id": "new", "iat": now_s - slow_s});
        assert_eq!(status_of(&server, &claims), 200, "{slow_s} s slow");
    }
    assert_eq!(status_of(&server, &json!({"session_id": "new"})), 200);
    let claims = json!({"session_id": "new", "iat": now_s - 10});
    assert_eq!(status_of(&server, &claims), 401);
    let claims = json!({"session_id": "old", "iat": now_s});
    assert_eq!(status_of(&server, &claims), 401);
}

#[test]
fn tokens_without_a_time_or_dated_ahead_do_not_survive_the_log_out() {
    let server = TestServer::start();
    put_session(&server, "42", &json!({"session_id": "mine"}));
    let now_s = now_s(&server);
    let tokens = [
        json!({"session_id": "mine"}),
        json!({"session_id": "mine", "iat": now_s}),
        json!({"session_id": "mine", "iat": now_s + 4}),
    ];
    for claims in &tokens {
        assert_eq!(status_of(&server, claims), 200, "{claims}");
    }
    server.admin("POST", "/v1/users/42/logout", "");
    for session in ["mine", "other", "another", "mine"] {
        put_session(&server, "42", &json!({"session_id": session}));
        server.advance(Duration::from_secs(1));
        for claims in &tokens {
            assert_eq!(status_of(&server, claims), 401, "{claims} after {session}");
        }
    }
    server.admin("POST", "/v1/users/42/logout", "");
    put_session(&server, "42", &json!({"session_id": "other"}));
    server.admin("POST", "/v1/users/42/logout", "");
    put_session(&server, "42", &json!({"session_id": "mine"}));
    for claims in &tokens {
        assert_eq!(status_of(&server, claims), 401, "{claims} in the end");
    }
}

#[test]
fn registering_the_current_session_again_logs_nobody_out() {
    let server = TestServer::start();
    let body = json!({"session_id": "mine"});
    let before = server.token_with("42", Some("mine"), &[]);
    put_session(&server, "42", &body);
    server.advance(Duration::from_secs(2));
    let nameless = server.token("42");
    let mut streams = [server.stream_of(&before), server.stream_of(&nameless)];
    let first = server.publish(&json!({"to": {"user": "42"}, "data": "first"}));
    server.advance(Duration::from_secs(2));
    put_session(&server, "42", &body);
    server.publish(&json!({"to": {"user": "42"}, "data": "on"}));
    for stream in &mut streams {
        assert!(stream.next().unwrap().contains("data: first\n"));
        assert!(stream.next().unwrap().contains("data: on\n"));
    }
    for token in [&before, &nameless] {
        assert_eq!(status(&server, token), 200);
        // A client that reconnects is not logged out either.
        let path = format!("{NOTIFICATIONS}?token={token}&last_event_id={first}");
        let mut stream = server.open(&path);
        assert!(std::iter::from_fn(|| stream.next()).any(|frame| frame.contains("data: on\n")));
    }
    server.wait_for_metric("idlewild_disconnects_total{reason=\"logged_out\"}", 0.0);
}

#[test]
fn a_log_out_is_forgotten_when_all_earlier_tokens_have_expired() {
    let server = TestServer::with(|config| {
        config.auth.max_token_life = Duration::from_secs(3_600);
    });
    let claims = json!({"session_id": "mine", "iat": now_s(&server)});
    server.admin("POST", "/v1/users/42/logout", "");
    server.advance(Duration::from_secs(3_600));
    assert_eq!(status_of(&server, &claims), 401);
    server.advance(Duration::from_secs(60));
    // The sweep runs on another thread.
    eventually("nothing is known of the user", || {
        server.advance(Duration::from_secs(1));
        status_of(&server, &json!({"session_id": "mine"})) == 200
    });
}

#[test]
fn a_log_out_is_not_forgotten_by_restarts_while_the_clock_is_months_ahead() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let directory = tempfile::tempdir().unwrap();
    let server_at = |unix_ms| {
        TestServer::at(unix_ms, |config| {
            config.history.path = Some(directory.path().join("history"));
        })
    };
    let revoked = json!({"session_id": "mine"});
    let server = server_at(START_UNIX_MS);
    assert_eq!(status_of(&server, &revoked), 200);
    server.admin("POST", "/v1/users/42/logout", "");
    server.close();
    // The second start finds an id from the time when the clock was fast.
    for _ in 0..2 {
        let server = server_at(START_UNIX_MS + 90 * DAY_MS);
        for _ in 0..5 {
            server.advance(Duration::from_secs(2));
            server.publish(&json!({"to": {"user": "1"}, "data": 1}));
            assert_eq!(status_of(&server, &revoked), 401);
        }
        server.close();
    }
    let server = server_at(START_UNIX_MS + 60_000);
    assert_eq!(status_of(&server, &revoked), 401);
    let claims = json!({"session_id": "mine", "iat": START_UNIX_MS / 1_000});
    assert_eq!(status_of(&server, &claims), 401);
}

#[test]
fn a_ticket_of_another_session_is_invalid_after_the_change() {
    let server = TestServer::start();
    let token = server.token_with("42", Some("old"), &[]);
    let answer = request(
        server.public,
        "POST",
        &format!("{BASE}/sse/ticket/"),
        &[("Authorization", &format!("Bearer {token}"))],
        "",
    );
    assert_eq!(answer.status, 201, "{}", answer.body);
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    put_session(&server, "42", &json!({"session_id": "new"}));
    let stream = server.open(&format!("{NOTIFICATIONS}?ticket={ticket}"));
    assert_eq!(stream.status, 401);
}

#[test]
fn a_session_change_that_races_with_connects_leaves_no_other_session_connected() {
    const THREADS: usize = 4;
    const EACH: usize = 6;
    let server = TestServer::with(|config| config.max_connections_per_user = 100);
    for round in 0..12 {
        let user = format!("u{round}");
        let token = server.token_with(&user, Some("old"), &[]);
        let path = format!("{NOTIFICATIONS}?token={token}");
        let mut opened: Vec<Stream> = Vec::new();
        let mut id = String::new();
        std::thread::scope(|scope| {
            let connecting: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| -> Vec<Stream> {
                        (0..EACH).map(|_| server.open(&path)).collect()
                    })
                })
                .collect();
            id = put_session(&server, &user, &json!({"session_id": "new"}));
            for thread in connecting {
                opened.extend(thread.join().unwrap());
            }
        });
        for stream in &mut opened {
            if stream.status == 200 {
                let frames = stream.begin().rest();
                assert!(frames[0].starts_with(&format!("id: {id}\n")), "{frames:?}");
                assert_eq!(frames.len(), 1);
            } else {
                assert_eq!(stream.status, 401);
            }
        }
        eventually("nobody of the old session is there", || {
            let presence = server.admin("GET", &format!("/v1/users/{user}"), "").json();
            presence["online"] == false
        });
    }
    server.wait_for_metric("idlewild_users", 0.0);
    server.wait_for_metric(&server.series("idlewild_connections"), 0.0);
}
