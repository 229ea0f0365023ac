//! A directory that passes from one process to another, and back.

use super::*;
use crate::hub::engine::{Continued, EngineState};

const START_MS: u64 = 1_000_000;

/// A process that continues `old`: it has what that one's log has.
fn successor(old: &Life, path: &Path) -> Life {
    let new = Life::new(path, Fsync::Interval, START_MS);
    new.engine.expect_predecessor(no_node());
    let part = old.log.dispatched_part(old.clock.now_ms());
    let log = old.engine.describe_log(&part);
    let retained = part.entries.iter();
    let mut retained =
        retained.map(|(entry, left_ms)| old.engine.describe_retained(entry, *left_ms));
    new.engine.begin(&log, &mut retained).unwrap();
    new
}

/// Carries out what was appended, as the dispatcher and the shards would do it. Returns how many entries that were.
async fn dispatch(life: &Life) -> usize {
    let mut count = 0;
    while life.log.dispatched_position() < life.log.head() {
        let batch = life.log.next_batch(1_024).await;
        for entry in &batch {
            if let Record::Session { change, .. } = &entry.record {
                let directory = &life.directory;
                directory.change_session(change, entry.id.ms, entry.position);
            }
        }
        life.log
            .mark_dispatched(batch.last().unwrap(), life.clock.now_ms());
        count += batch.len();
    }
    count
}

/// Forwards everything that `new` does not have.
async fn forward(old: &Life, new: &Life) {
    let known = new.log.newest_id();
    let batch = old.log.next_batch(1_024).await;
    for entry in batch.iter().filter(|entry| entry.id > known) {
        new.engine.follow(&old.engine.describe(entry)).unwrap();
    }
    dispatch(old).await;
    dispatch(new).await;
}

async fn stop(life: &Life) -> EngineState {
    life.engine.stop().await.unwrap()
}

#[tokio::test]
async fn a_directory_passes_to_the_next_process_with_all_that_depends_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut life = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    let first = life.publish(Some("a"), true).await.unwrap();
    life.change("43", Some("phone")).await.unwrap();
    let mut ids = vec![first];
    for _ in 0..3 {
        dispatch(&life).await;
        let next = successor(&life, directory.path());
        ids.push(life.publish(None, true).await.unwrap());
        // It takes an id, and no row.
        life.publish(None, false).await.unwrap();
        forward(&life, &next).await;
        let state = stop(&life).await;
        assert_eq!(next.publish(None, true).await, Err(EngineError::NotOpen));
        next.engine.take_over(state).await.unwrap();
        life.engine.leave();
        assert_eq!(life.publish(None, true).await, Err(EngineError::NotOpen));
        assert_eq!(next.publish(Some("a"), true).await, Ok(first));
        assert_eq!(next.engine.health(), EngineHealth::Well);
        ids.push(next.publish(None, true).await.unwrap());
        life = next;
        assert_eq!(life.missed(first).unwrap(), ids[1..]);
    }
    life.engine.close().await;
    let life = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    assert_eq!(life.missed(first).unwrap(), ids[1..]);
    assert!(life.lets_in("43", Some("phone"), START_MS));
    assert!(!life.lets_in("43", Some("tablet"), START_MS));
}

#[tokio::test]
async fn what_waits_while_the_directory_is_left_is_accepted_after_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let life = Arc::new(Life::begin(directory.path(), Fsync::Interval, START_MS).await);
    let before = life.publish(None, true).await.unwrap();
    for _ in 0..3 {
        // Without a stop it does nothing, also not later.
        life.engine.resume();
        let state = stop(&life).await;
        let publishing = Arc::clone(&life);
        let waiting = tokio::spawn(async move { publishing.publish(None, true).await });
        tokio::task::yield_now().await;
        let other = Life::new(directory.path(), Fsync::Interval, START_MS);
        other.engine.open(no_node()).await.expect("it is unlocked");
        other.engine.close().await;
        assert!(!waiting.is_finished());
        life.engine.resume();
        let id = waiting.await.unwrap().unwrap();
        assert!(id.to_string() > state.newest && life.missed(before).unwrap().contains(&id));
    }
    // Nobody waits for the answer, so the upgrade was given up.
    let mut stopping = life.engine.stop();
    assert!(is_pending(&mut stopping).await);
    drop(stopping);
    life.engine.resume();
    life.publish(None, true).await.unwrap();
    stop(&life).await;
    life.engine.close().await;
}

/// Polls once. Returns true if it is not ready.
async fn is_pending<T>(future: &mut crate::hub::engine::Answer<'_, T>) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
    })
    .await
}

#[tokio::test]
async fn a_process_alone_reads_what_was_accepted_and_not_forwarded() {
    let directory = tempfile::tempdir().unwrap();
    let old = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    let first = old.publish(Some("a"), true).await.unwrap();
    dispatch(&old).await;
    let new = successor(&old, directory.path());
    let second = old.publish(Some("b"), true).await.unwrap();
    old.change("43", Some("phone")).await.unwrap();
    let third = old.publish(None, true).await.unwrap();
    let alone = async {
        new.engine.go_on_alone(true).await.unwrap();
    };
    let killed = async {
        // A killed process leaves its lock, and nothing else is tidied up.
        tokio::task::yield_now().await;
        old.engine.close().await;
        while new.log.newest_id() < third {
            tokio::task::yield_now().await;
        }
        assert_eq!(dispatch(&new).await, 3);
    };
    tokio::join!(alone, killed);
    assert_eq!(new.missed(first).unwrap(), [second, third]);
    assert!(!new.lets_in("43", Some("tablet"), START_MS));
    assert_eq!(new.publish(Some("b"), true).await, Ok(second));
    assert!(new.publish(None, true).await.unwrap() > third);
}

#[tokio::test]
async fn what_the_other_process_has_stored_before_its_end_is_appended() {
    let directory = tempfile::tempdir().unwrap();
    let old = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    let first = old.publish(None, true).await.unwrap();
    dispatch(&old).await;
    let new = successor(&old, directory.path());
    new.engine.take_over(stop(&old).await).await.unwrap();
    let second = new.publish(Some("b"), true).await.unwrap();
    new.engine.close().await;
    old.engine.resume();
    let third = old.publish(None, true).await.unwrap();
    assert!(second < third);
    assert_eq!(old.missed(first).unwrap(), [second, third]);
    assert_eq!(old.publish(Some("b"), true).await, Ok(second));
}

#[tokio::test]
async fn a_directory_with_another_end_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let old = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    old.publish(None, true).await.unwrap();
    dispatch(&old).await;
    let new = successor(&old, directory.path());
    let unforwarded = old.publish(None, true).await.unwrap();
    let mut state = stop(&old).await;
    let refused = new.engine.take_over(state).await.unwrap_err();
    assert!(refused.to_string().contains("handed over"), "{refused}");
    dispatch(&old).await;
    old.engine.resume();
    old.publish(None, true).await.unwrap();
    let new = successor(&old, directory.path());
    assert!(new.log.newest_id() >= unforwarded);
    forward(&old, &new).await;
    state = stop(&old).await;
    let end = state.history.as_mut().unwrap();
    end.rows += 1;
    assert!(new.engine.take_over(state).await.is_err());
    old.engine.resume();
    old.publish(None, true).await.unwrap();
}

#[tokio::test]
async fn a_log_out_of_everyone_is_known_before_the_directory_is() {
    let directory = tempfile::tempdir().unwrap();
    let old = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    old.directory.log_everyone_out(START_MS);
    let new = successor(&old, directory.path());
    assert!(!new.allows(None, START_MS - 5_000));
}

#[tokio::test]
async fn while_the_directory_cannot_be_opened_again_publishers_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    stop(&life).await;
    let path = directory.path().join("mark");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    life.engine.resume();
    assert_eq!(life.publish(None, true).await, Err(EngineError::NotStored));
    assert!(!life.engine.health().is_well());
    std::fs::remove_dir(&path).unwrap();
    while life.publish(None, true).await.is_err() {}
    assert!(life.engine.health().is_well());
}

#[tokio::test]
async fn a_process_alone_to_which_nothing_was_handed_over_reads_everything() {
    let directory = tempfile::tempdir().unwrap();
    let old = Life::begin(directory.path(), Fsync::Interval, START_MS).await;
    let first = old.publish(Some("a"), true).await.unwrap();
    let second = old.publish(None, true).await.unwrap();
    old.change("43", Some("phone")).await.unwrap();
    let new = Life::new(directory.path(), Fsync::Interval, START_MS + 1_000);
    new.engine.expect_predecessor(no_node());
    let (alone, ()) = tokio::join!(new.engine.go_on_alone(true), old.engine.close());
    alone.unwrap();
    let third = new.publish(None, true).await.unwrap();
    assert_eq!(new.missed(first).unwrap(), [second, third]);
    assert_eq!(new.publish(Some("a"), true).await, Ok(first));
    assert!(!new.lets_in("43", Some("tablet"), START_MS));
}
