use std::pin::Pin;
use std::task::Poll;

use super::*;
use crate::config::OnLimit;

const LIMIT: Limit = Limit {
    connections: 5,
    on_limit: OnLimit::Reject,
};

fn places() -> (Arc<Places>, Clock) {
    let clock = Clock::manual(1_000_000);
    (Arc::new(Places::new("node-1", clock.clone())), clock)
}

/// The users of the next batch, each with the number of requests.
fn batch(places: &Places) -> Vec<(String, usize)> {
    let batch = places.take(10);
    let users = batch
        .iter()
        .map(|(user, asked)| (user.to_string(), asked.len()));
    let mut users: Vec<_> = users.collect();
    users.sort();
    users
}

#[test]
fn without_a_store_the_node_decides_and_the_place_is_stated_later() {
    let (places, _) = places();
    assert!(places.ask(&"42".into(), LIMIT).is_none());
    assert_eq!(
        (places.besides_directory("42"), places.decided_here()),
        (1, 1)
    );
    // Nothing is collected, because all users are stated at the start of a service.
    places.change(&"43");
    let service = places.serve();
    assert_eq!(batch(&places), [("42".to_owned(), 0)]);
    places.admitted("42");
    assert_eq!(places.besides_directory("42"), 0);
    drop(service);
    assert_eq!(batch(&places), []);
}

#[test]
fn a_place_is_reserved_from_its_grant_until_it_is_in_the_directory_or_given_back() {
    let (places, _) = places();
    let _service = places.serve();
    let mut answers: Vec<_> = (0..3)
        .map(|_| places.ask(&"42".into(), LIMIT).unwrap())
        .collect();
    let mut taken = places.take(10);
    let (user, requests) = taken.pop().unwrap();
    assert_eq!(
        (&*user, requests.len(), places.besides_directory("42")),
        ("42", 3, 0)
    );
    places.answer(&user, requests, 2);
    assert_eq!(places.besides_directory("42"), 2);
    assert!(matches!(answers[2].try_recv(), Ok(PlaceAnswer::Full)));
    let Ok(PlaceAnswer::Granted(first)) = answers[0].try_recv() else {
        panic!("it was granted");
    };
    first.take();
    places.admitted("42");
    assert_eq!(
        (places.besides_directory("42"), batch(&places)),
        (1, vec![])
    );
    // The client leaves before it learns of its place.
    drop(answers);
    assert_eq!(places.besides_directory("42"), 0);
    assert_eq!(batch(&places), [("42".to_owned(), 0)]);
}

#[test]
fn a_connection_that_was_passed_on_is_counted_until_the_other_process_ends() {
    let (places, _) = places();
    let _service = places.serve();
    places.pass_on("42");
    places.pass_on("42");
    assert_eq!(places.besides_directory("42"), 2);
    assert_eq!(batch(&places), []);
    places.end_passed_on();
    assert_eq!(places.besides_directory("42"), 0);
    assert_eq!(batch(&places), [("42".to_owned(), 0)]);
}

#[test]
fn names_of_the_process_before_are_valid_until_all_users_are_stated() {
    let (places, _) = places();
    places.inherit(vec!["before.3".to_owned()]);
    places.rename();
    assert_eq!(places.valid_names(), ["node-1.1", "before.3"]);
    places.complete();
    assert_eq!(places.valid_names(), ["node-1.1"]);
    // What that one has stated is removed where it is met.
    assert_eq!(places.former_names(), ["before.3"]);
}

#[test]
fn who_has_left_is_not_asked_for() {
    let (places, _) = places();
    let _service = places.serve();
    drop(places.ask(&"42".into(), LIMIT));
    let _waits = places.ask(&"42".into(), LIMIT).unwrap();
    places.change(&"43");
    assert_eq!(batch(&places), [("42".to_owned(), 1), ("43".to_owned(), 0)]);
}

#[test]
fn the_memory_of_a_storm_is_freed() {
    let (places, _) = places();
    let _service = places.serve();
    for user in 0..10 * KEPT_ROOM {
        places.change(&user);
    }
    while !places.take(KEPT_ROOM).is_empty() {}
    let room = places.inner.lock().pending.capacity();
    assert!(room < 4 * KEPT_ROOM, "{room}");
}

#[test]
fn a_store_that_does_not_keep_up_is_not_waited_for() {
    let (places, clock) = places();
    let _service = places.serve();
    let _first = places.ask(&"42".into(), LIMIT).unwrap();
    assert_eq!(batch(&places).len(), 1);
    clock.advance(PATIENCE);
    let _second = places.ask(&"43".into(), LIMIT).unwrap();
    clock.advance(Duration::from_millis(1));
    assert!(places.ask(&"44".into(), LIMIT).is_none());
    places.settle();
    assert!(places.ask(&"45".into(), LIMIT).is_some());
    // Who was let in here is stated with the next batch.
    let users = [("43", 1), ("44", 0), ("45", 0)];
    assert_eq!(
        batch(&places),
        users.map(|(user, asked)| (user.to_owned(), asked))
    );
}

#[tokio::test]
async fn whoever_waits_until_a_change_is_stated_waits_for_its_batch() {
    let (places, _) = places();
    places.stated().await;
    let _service = places.serve();
    places.stated().await;
    places.change(&"42");
    let waits = places.stated();
    tokio::pin!(waits);
    assert!(poll_once(&mut waits).await.is_pending());
    assert_eq!(batch(&places).len(), 1);
    // What changes while the batch is under way is in the next one.
    places.change(&"43");
    let next = places.stated();
    tokio::pin!(next);
    assert!(poll_once(&mut waits).await.is_pending());
    assert!(poll_once(&mut next).await.is_pending());
    places.settle();
    assert!(poll_once(&mut waits).await.is_ready());
    assert!(poll_once(&mut next).await.is_pending());
    assert_eq!(batch(&places).len(), 1);
    places.settle();
    assert!(poll_once(&mut next).await.is_ready());
}

/// Polls a future once.
async fn poll_once<F: Future<Output = ()> + Unpin>(future: &mut F) -> Poll<()> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

#[test]
fn when_the_service_ends_whoever_waits_learns_of_it() {
    let (places, _) = places();
    let service = places.serve();
    let mut waits = places.ask(&"42".into(), LIMIT).unwrap();
    drop(service);
    let error = waits.try_recv().err();
    assert_eq!(error, Some(oneshot::error::TryRecvError::Closed));
}

#[test]
fn each_service_counts_under_its_own_name_and_knows_the_last_ones() {
    let (places, _) = places();
    places.rename();
    assert_eq!(places.name(), "node-1.1");
    assert_eq!(places.former_names(), Vec::<String>::new());
    for _ in 0..5 {
        places.rename();
    }
    assert_eq!(places.name(), "node-1.6");
    let former = ["node-1.5", "node-1.4", "node-1.3", "node-1.2"];
    assert_eq!(places.former_names(), former);
    assert_eq!(places.valid_names().len(), 5);
    places.complete();
    assert_eq!(places.valid_names(), ["node-1.6"]);
}
