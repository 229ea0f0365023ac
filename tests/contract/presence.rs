//! `POST /v1/presence`: many users at once.

use serde_json::{Value, json};

use crate::support::TestServer;

/// The longest user id, in bytes.
const LONGEST: usize = 256;

fn ask(server: &TestServer, body: &Value) -> Value {
    let answer = server.admin("POST", "/v1/presence", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[track_caller]
fn refused(server: &TestServer, body: &str, status: u16, code: &str) {
    let answer = server.admin("POST", "/v1/presence", body);
    let start: String = body.chars().take(60).collect();
    assert_eq!(answer.status, status, "{start}: {}", answer.body);
    assert_eq!(answer.json()["error"]["code"], code, "{start}");
}

#[test]
fn users_are_online_with_the_number_of_their_streams() {
    let server = TestServer::start();
    let _first = server.stream("42");
    let _second = server.stream("42");
    let _other = server.stream("a user, with signs: {\"ü\"}");
    let users = ["42", "7", "a user, with signs: {\"ü\"}"];
    let expected = json!({
        "42": {"online": true, "connections": 2},
        "7": {"online": false, "connections": 0},
        "a user, with signs: {\"ü\"}": {"online": true, "connections": 1},
    });
    let answer = ask(&server, &json!({ "users": users }));
    assert_eq!(answer, json!({ "users": expected }));
}

#[test]
fn a_user_who_is_named_twice_counts_once_and_nobody_may_be_named() {
    let server = TestServer::start();
    let _stream = server.stream("42");
    let answer = ask(&server, &json!({"users": ["42", "42"]}));
    let expected = json!({"42": {"online": true, "connections": 1}});
    assert_eq!(answer, json!({ "users": expected }));
    assert_eq!(ask(&server, &json!({"users": []})), json!({"users": {}}));
}

#[test]
fn a_user_may_be_an_integer_as_in_events() {
    let server = TestServer::start();
    let large = "340282366920938463463374607431768211456";
    let _stream = server.stream(large);
    let answer = server.admin(
        "POST",
        "/v1/presence",
        &format!("{{\"users\": [42, {large}]}}"),
    );
    let expected = json!({
        "42": {"online": false, "connections": 0},
        large: {"online": true, "connections": 1},
    });
    assert_eq!(answer.json(), json!({ "users": expected }));
}

#[test]
fn a_thousand_users_with_the_longest_ids_fit_and_one_more_does_not() {
    let server = TestServer::start();
    let users = |number: usize| -> Vec<String> {
        let id = |number| format!("{number:0>LONGEST$}");
        (0..number).map(id).collect()
    };
    let _stream = server.stream("7");
    let mut many = users(999);
    many.push("7".to_owned());
    let answer = ask(&server, &json!({ "users": many }));
    let counted = answer["users"].as_object().unwrap();
    assert_eq!(counted.len(), 1_000);
    assert_eq!(counted["7"]["connections"], 1);
    let body = json!({"users": users(1_001)}).to_string();
    refused(&server, &body, 400, "invalid_request");
}

#[test]
fn anything_else_is_refused() {
    let server = TestServer::start();
    for body in [
        "",
        "{}",
        "[]",
        "{\"users\": \"42\"}",
        "{\"users\": [4.2]}",
        "{\"users\": [null]}",
        "{\"users\": [\"\"]}",
        "{\"users\": [\"a\\nb\"]}",
        "{\"users\": [\"42\"], \"more\": 1}",
        "{\"users\": [\"42\"]",
    ] {
        refused(&server, body, 400, "invalid_request");
    }
    let long = json!({"users": ["x".repeat(LONGEST + 1)]}).to_string();
    refused(&server, &long, 400, "invalid_request");
    let large = json!({"users": ["x".repeat(1 << 20)]}).to_string();
    refused(&server, &large, 413, "too_large");
    let answer = server.admin("GET", "/v1/presence", "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}
