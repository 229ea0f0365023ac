use hyper::header::HeaderName;
use proptest::prelude::*;

use super::*;
use crate::auth::fair_queue::Reputation;

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

fn key_of(pairs: &[(HeaderName, &str)]) -> Option<SessionKey> {
    key(
        &headers(pairs),
        &["a", "b"].map(|name| name.parse().unwrap()),
    )
}

fn user(body: &str) -> Option<String> {
    match read(Ok(Bytes::copy_from_slice(body.as_bytes())), Position(7)) {
        Ok(SessionAnswer::SignedIn {
            user,
            asked: Position(7),
        }) => Some(user.into()),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

#[test]
fn only_cookies_authorization_and_the_address_are_forwarded() {
    let asked = headers(&[
        (COOKIE, "a=1"),
        (ACCEPT, "text/event-stream"),
        (COOKIE, "b=2"),
        (AUTHORIZATION, "Basic x"),
        (hyper::header::HOST, "events"),
        (X_FORWARDED_FOR, "1.2.3.4"),
    ]);
    let accept = (ACCEPT, "application/json");
    let expected = headers(&[
        accept.clone(),
        (AUTHORIZATION, "Basic x"),
        (COOKIE, "a=1; b=2"),
        (X_FORWARDED_FOR, "10.0.0.1"),
    ]);
    assert_eq!(forwarded(&asked, ADDRESS), expected);
    assert_eq!(forwarded(&headers(&[]), None), headers(&[accept]));
}

#[test]
fn only_session_cookies_and_authorization_make_the_key() {
    let same = [(COOKIE, "a=1; c=3"), (AUTHORIZATION, "Basic x")];
    let alike = [
        (ACCEPT, "*/*"),
        (AUTHORIZATION, "Basic x"),
        (COOKIE, "d=4"),
        (COOKIE, "c=4; a = 1"),
    ];
    assert_eq!(key_of(&same), key_of(&alike));
    let different: [&[(HeaderName, &str)]; 9] = [
        &same,
        &[(COOKIE, "a=1")],
        &[(COOKIE, "b=1")],
        &[(COOKIE, "a=1; b=1")],
        &[(COOKIE, "a=1; a=1")],
        &[(COOKIE, "a=1"), (AUTHORIZATION, "Basic y")],
        &[(COOKIE, "a=12"), (AUTHORIZATION, "Basic x")],
        &[(AUTHORIZATION, "a=1")],
        &[(COOKIE, "authorization:=a=1; b=2")],
    ];
    for (index, one) in different.iter().enumerate() {
        assert!(key_of(one).is_some());
        for other in &different[index + 1..] {
            assert_ne!(key_of(one), key_of(other), "{one:?} {other:?}");
        }
    }
}

#[test]
fn without_a_session_cookie_or_authorization_no_question_is_asked() {
    for pairs in [
        &[][..],
        &[(COOKIE, "c=1; A=1")],
        &[(COOKIE, "a=; b")],
        &[(AUTHORIZATION, "")],
        &[(ACCEPT, "a=1")],
    ] {
        assert_eq!(key_of(pairs), None, "{pairs:?}");
    }
}

#[test]
fn a_user_is_a_text_or_an_integer_as_in_a_token() {
    for (body, expected) in [
        ("{\"user_id\": \"42\"}", Some("42")),
        ("{\"user_id\": 42}", Some("42")),
        (" {\"name\": \"x\", \"user_id\": \"é\"}\n", Some("é")),
        ("\u{feff}{\"user_id\": 42}", Some("42")),
        ("\u{feff}\u{feff}{\"user_id\": 42}", None),
        (
            "{\"user_id\": 18446744073709551617}",
            Some("18446744073709551617"),
        ),
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
fn answers_about_other_cookies_are_not_taken_over() {
    let asks = |url: &str, cookies: &[&str]| {
        let cookies: Vec<_> = cookies.iter().map(|name| name.parse().unwrap()).collect();
        SessionAuth::new(&url.parse().unwrap(), &cookies).unwrap()
    };
    let own = asks("http://app/", &["a"]);
    assert!(own.is_same(&asks("http://app/", &["a"])));
    assert!(!own.is_same(&asks("http://app/", &["a", "b"])));
    assert!(!own.is_same(&asks("http://other/", &["a"])));
}

#[test]
fn only_401_and_403_refuse_a_session() {
    for status in [401, 403] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            read(Err(FetchError::Status(status)), Position(0)),
            Ok(SessionAnswer::Refused)
        );
    }
    for status in [100, 201, 204, 301, 302, 307, 400, 404, 407, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(
            read(Err(FetchError::Status(status)), Position(0)).is_err(),
            "{status}"
        );
    }
}

#[tokio::test]
async fn time_in_the_queue_counts_and_a_question_that_waited_too_long_is_not_sent() {
    let application = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    application.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", application.local_addr().unwrap());
    let cookies = ["a".parse().unwrap()];
    let sessions = Arc::new(SessionAuth::new(&url.parse().unwrap(), &cookies).unwrap());
    let mut taken = Vec::new();
    for _ in 0..MAX_QUESTIONS_EACH {
        taken.push(
            sessions
                .queue
                .enter(Network::of(ADDRESS), Reputation::Good)
                .await
                .unwrap(),
        );
    }
    let clock = Clock::manual(0);
    let headers = headers(&[(COOKIE, "a=1")]);
    let control = Handle::current();
    let asked = sessions.identify(
        &headers,
        ADDRESS,
        |_| true,
        &clock,
        || Position(0),
        &control,
    );
    let time_passes = async {
        // The question is spawned, and then waits in the queue.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        clock.advance(MAX_WAIT);
        drop(taken);
    };
    let (asked, ()) = tokio::join!(asked, time_passes);
    assert_eq!(asked.unwrap_err(), NoSession::Unknown);
    assert!(application.accept().is_err(), "the application was asked");
    let free = sessions.queue.enter(Network::of(ADDRESS), Reputation::Good);
    assert!(clock.within(MAX_WAIT, free).await.is_some());
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(body: Vec<u8>) {
        let _ = read(Ok(body.into()), Position(0));
    }
}
