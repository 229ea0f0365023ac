use hyper::header::HeaderName;
use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn key_of(pairs: &[(HeaderName, &str)]) -> Key {
    key(&forwarded(&headers(pairs)))
}

fn user(body: &str) -> Option<String> {
    match read(Ok(Bytes::copy_from_slice(body.as_bytes())), 7) {
        Ok(Answer::SignedIn {
            user,
            asked_unix_ms: 7,
        }) => Some(user.into()),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

#[test]
fn cookies_and_authorization_are_forwarded_and_nothing_else() {
    let asked = headers(&[
        (COOKIE, "a=1"),
        (ACCEPT, "text/event-stream"),
        (COOKIE, "b=2"),
        (AUTHORIZATION, "Basic x"),
        (hyper::header::HOST, "events"),
        (HeaderName::from_static("x-forwarded-for"), "1.2.3.4"),
    ]);
    let expected = headers(&[(COOKIE, "a=1"), (COOKIE, "b=2"), (AUTHORIZATION, "Basic x")]);
    assert_eq!(forwarded(&asked), expected);
}

#[test]
fn what_is_forwarded_alike_shares_an_answer_and_nothing_else_does() {
    let same = [(COOKIE, "a=1"), (AUTHORIZATION, "Basic x")];
    let other_order = [(ACCEPT, "*/*"), (AUTHORIZATION, "Basic x"), (COOKIE, "a=1")];
    assert_eq!(key_of(&same), key_of(&other_order));
    let different: [&[(HeaderName, &str)]; 7] = [
        &same,
        &[(COOKIE, "a=1")],
        &[(COOKIE, "a=1"), (AUTHORIZATION, "Basic y")],
        &[(COOKIE, "a=1 "), (AUTHORIZATION, "Basic x")],
        &[(COOKIE, "a="), (COOKIE, "1"), (AUTHORIZATION, "Basic x")],
        &[(COOKIE, "a=1"), (COOKIE, "Basic x")],
        &[(AUTHORIZATION, "a=1"), (COOKIE, "Basic x")],
    ];
    for (index, one) in different.iter().enumerate() {
        for other in &different[index + 1..] {
            assert_ne!(key_of(one), key_of(other), "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_user_is_a_text_or_an_integer_as_in_a_token() {
    for (body, expected) in [
        ("{\"user_id\": \"42\"}", Some("42")),
        ("{\"user_id\": 42}", Some("42")),
        (" {\"name\": \"x\", \"user_id\": \"é\"}\n", Some("é")),
        ("{\"user_id\": 42.0}", None),
        ("{\"user_id\": null}", None),
        ("{\"user_id\": true}", None),
        ("{\"user_id\": \"\"}", None),
        ("{\"user_id\": \"a\\nb\"}", None),
        ("{\"user_id\": \"42\"", None),
        ("{\"id\": 42}", None),
        ("[42]", None),
        ("42", None),
        ("<html>", None),
        ("", None),
    ] {
        assert_eq!(user(body).as_deref(), expected, "{body}");
    }
    assert_eq!(
        user(&format!("{{\"user_id\": \"{}\"}}", "x".repeat(257))),
        None
    );
}

#[test]
fn two_statuses_refuse_and_the_others_say_nothing() {
    for status in [401, 403] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(read(Err(NoAnswer::Status(status)), 0), Ok(Answer::Refused));
    }
    for status in [100, 201, 204, 301, 302, 307, 400, 404, 407, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(read(Err(NoAnswer::Status(status)), 0).is_err(), "{status}");
    }
}

#[tokio::test]
async fn waiting_for_a_turn_counts_and_who_waited_too_long_is_not_asked_about() {
    let application = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    application.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", application.local_addr().unwrap());
    let sessions = Arc::new(SessionAuth::new(url.parse().unwrap()).unwrap());
    let turns = u32::try_from(MAX_QUESTIONS).unwrap();
    let taken = sessions.turns.acquire_many(turns).await.unwrap();
    let clock = Clock::manual(0);
    let headers = headers(&[(COOKIE, "a=1")]);
    let control = Handle::current();
    let asked = sessions.identify(&headers, |_| true, &clock, &control);
    let time_passes = async {
        // The question is spawned, and then waits.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        clock.advance(MAX_WAIT);
        drop(taken);
    };
    let (asked, ()) = tokio::join!(asked, time_passes);
    assert_eq!(asked.unwrap_err(), NoSession::Unknown);
    assert!(application.accept().is_err(), "a connection came");
    assert_eq!(sessions.turns.available_permits(), MAX_QUESTIONS);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(body: Vec<u8>) {
        let _ = read(Ok(body.into()), 0);
    }
}
