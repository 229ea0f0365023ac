//! The scripts about users.

use super::Store;
use crate::auth::failures::{FailureKey, MAX_FAILURES, WINDOW_MS};
use crate::engine::redis::scripts;

/// Notes a ticket of user `u`, at most three and 1,000 bytes. Returns those that were forgotten.
async fn note(store: &mut Store, name: &str, bytes: &str, life_ms: &str) -> Vec<String> {
    let key = store.keys.tickets_of("u");
    let args = [name, bytes, life_ms, "3", "1000"];
    store
        .run(&scripts::NOTE_TICKET, &[&key], &args)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_user_s_oldest_tickets_give_way_beyond_their_number_and_their_size() {
    let mut store = Store::start().await;
    for name in ["a", "b", "c"] {
        assert!(note(&mut store, name, "10", "30000").await.is_empty());
    }
    assert_eq!(note(&mut store, "d", "10", "30000").await, ["a"]);
    assert_eq!(note(&mut store, "e", "985", "30000").await, ["b", "c"]);
    // One that is larger than all may be is the only one.
    assert_eq!(note(&mut store, "f", "2000", "30000").await, ["d", "e"]);
    let key = store.keys.tickets_of("u");
    let left: u64 = store.command(&["PTTL", &key]).await;
    assert!(left > 0 && left <= 30_000, "{left}");
}

#[tokio::test]
async fn expired_tickets_do_not_count() {
    let mut store = Store::start().await;
    let key = store.keys.tickets_of("u");
    for name in ["a 10", "b 10", "c 10"] {
        let _: u64 = store.command(&["ZADD", &key, "1", name]).await;
    }
    assert!(note(&mut store, "d", "10", "30000").await.is_empty());
    let held: Vec<String> = store.command(&["ZRANGE", &key, "0", "-1"]).await;
    assert_eq!(held, ["d 10"]);
}

async fn begin(store: &mut Store, who: &[&str], shift_ms: u64) -> bool {
    let keys: Vec<String> = who
        .iter()
        .map(|who| store.keys.failures(FailureKey::account(who)))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let numbers = [shift_ms, MAX_FAILURES as u64, WINDOW_MS].map(|number| number.to_string());
    let args = numbers.each_ref().map(String::as_str);
    store
        .run::<u8>(&scripts::BEGIN_LOGIN, &keys, &args)
        .await
        .unwrap()
        == 1
}

async fn forgive(store: &mut Store, who: &str) {
    let key = store.keys.failures(FailureKey::account(who));
    store
        .run::<()>(&scripts::FORGIVE_LOGIN, &[&key], &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn five_failures_within_a_minute_limit_and_the_window_slides() {
    let mut store = Store::start().await;
    for second in 0..5 {
        assert!(begin(&mut store, &["a", "b"], second * 10_000).await);
    }
    assert!(!begin(&mut store, &["a"], 45_000).await);
    // Nothing was counted for the other one, and nothing for the limited one.
    assert!(!begin(&mut store, &["c", "a"], 45_000).await);
    for _ in 0..5 {
        assert!(begin(&mut store, &["c"], 45_000).await);
    }
    // The first failure is over, the second is not.
    assert!(begin(&mut store, &["a"], 65_000).await);
    assert!(!begin(&mut store, &["a"], 65_000).await);
    let key = store.keys.failures(FailureKey::account("a"));
    let left: u64 = store.command(&["PTTL", &key]).await;
    assert!(left > 0 && left <= WINDOW_MS, "{left}");
}

#[tokio::test]
async fn a_login_that_succeeded_takes_its_attempt_back() {
    let mut store = Store::start().await;
    forgive(&mut store, "a").await;
    for _ in 0..8 {
        assert!(begin(&mut store, &["a"], 0).await);
        forgive(&mut store, "a").await;
    }
    for _ in 0..5 {
        assert!(begin(&mut store, &["a"], 0).await);
    }
    assert!(!begin(&mut store, &["a"], 0).await);
    forgive(&mut store, "a").await;
    assert!(begin(&mut store, &["a"], 0).await);
    let key = store.keys.failures(FailureKey::account("a"));
    let left: u64 = store.command(&["PTTL", &key]).await;
    assert!(left > 0 && left <= WINDOW_MS, "{left}");
}
