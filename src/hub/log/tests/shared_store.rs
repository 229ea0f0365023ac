//! The log of a store that other nodes use, too: marks, and the loss of the newest entries or of all.

use super::*;

fn id(seq: u64) -> EventId {
    EventId { ms: 1_000, seq }
}

fn log() -> Log {
    Log::new(1 << 20, Duration::from_secs(600), ORIGIN)
}

fn to(users: &[&str]) -> Target {
    Target::Users(Users::new(users.iter().map(|name| user(name)).collect()))
}

fn append_all(log: &Log, records: impl IntoIterator<Item = (u64, Record)>) {
    for (seq, record) in records {
        log.append(id(seq), 0, record).unwrap();
    }
}

fn broadcasts(log: &Log, seqs: impl IntoIterator<Item = u64>) {
    append_all(log, seqs.into_iter().map(|seq| (seq, broadcast("x"))));
}

fn has_gap(log: &Log, seq: u64) -> bool {
    let id = id(seq).to_string();
    log.join(&newcomer("1", &[], &id)).gap.is_some()
}

fn missed_after(log: &Log, user: &str, seq: u64) -> Vec<u64> {
    let ids = missed(log, user, &[], &id(seq).to_string());
    ids.iter().map(|id| id.seq).collect()
}

fn seqs(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.seq).collect()
}

#[test]
fn an_id_that_does_not_rise_is_refused() {
    let log = log();
    broadcasts(&log, [3, 4]);
    for seq in [2, 4] {
        let refused = log.append(id(seq), 0, broadcast("y")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("the id 1000-{seq} is not after the log's newest id, 1000-4")
        );
    }
    assert_eq!(log.retained().1, 2);
    assert_eq!((log.head(), log.newest_id()), (Position(2), id(4)));
    assert!(log.append(ORIGIN, 0, Record::Mark).is_err());
}

#[test]
fn a_mark_is_a_position_that_no_client_receives() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    append_all(
        &log,
        [(1, Record::Mark), (2, broadcast("x")), (3, Record::Mark)],
    );
    let (bytes, _) = log.retained();
    assert!(
        log.undispatched(10)
            .iter()
            .all(|entry| !entry.is_fleeting())
    );
    dispatch_all(&log, 0);
    assert_eq!(log.retained(), (bytes, 3));
    // Heartbeats carry it.
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(3),
            id: id(3)
        }
    );
    assert_eq!(missed_after(&log, "1", 1), [2]);
    assert!(missed_after(&log, "1", 3).is_empty());
    assert!(!has_gap(&log, 1) && !has_gap(&log, 3));
    // Its eviction is no gap for a client that has everything else.
    broadcasts(&log, [4]);
    append_all(&log, [(5, Record::Mark)]);
    dispatch_all(&log, 0);
    log.expire(1_001);
    assert_eq!(log.retained().1, 0);
    assert!(has_gap(&log, 3) && !has_gap(&log, 4) && !has_gap(&log, 5));
}

#[test]
fn entries_after_the_common_id_are_removed() {
    let log = log();
    broadcasts(&log, [1, 2]);
    dispatch_all(&log, 0);
    let (bytes, _) = log.retained();
    append_all(
        &log,
        [
            (3, broadcast("y")),
            (4, event(Target::All, "fleeting", false)),
            (5, broadcast("y")),
        ],
    );
    let removed = log.truncate_after(id(2));
    assert_eq!(seqs(&removed), [3, 5]);
    assert!(log.undispatched(10).is_empty());
    let (bytes_after, entries) = log.retained();
    // The ring keeps its capacity until the next time that entries expire.
    assert!(entries == 2 && bytes_after >= bytes);
    log.expire(0);
    assert_eq!(log.newest_id(), id(2));
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(5),
            id: id(2)
        }
    );
    assert_eq!(log.head(), Position(5));
    let newcomer = log.join(&JoinRequest {
        last_event_id: None,
        ..newcomer("1", &[], "")
    });
    assert_eq!((newcomer.id, newcomer.position), (id(2), Position(5)));
    assert!(!has_gap(&log, 2) && has_gap(&log, 3) && has_gap(&log, 4) && has_gap(&log, 5));
    // Lower ids than those removed, at new positions.
    broadcasts(&log, [3]);
    assert_eq!(log.undispatched(10)[0].position, Position(6));
    assert_eq!(missed_after(&log, "1", 1), [2, 3]);
    assert!(!has_gap(&log, 3));
}

#[test]
fn nothing_is_removed_after_the_newest_id() {
    let log = log();
    append_all(
        &log,
        [
            (1, broadcast("x")),
            (2, event(Target::All, "fleeting", false)),
        ],
    );
    let before = log.generation();
    assert!(log.truncate_after(id(2)).is_empty() && log.truncate_after(id(7)).is_empty());
    assert_eq!((log.newest_id(), log.undispatched(10).len()), (id(2), 2));
    assert_ne!(log.generation(), before);
    // The common id may be that of an event that is not kept.
    dispatch_all(&log, 0);
    broadcasts(&log, [3]);
    log.truncate_after(id(2));
    assert!(log.append(id(2), 0, Record::Mark).is_err());
    assert_eq!(log.dispatched_cursor().id, id(1));
}

#[test]
fn the_chains_go_on_where_they_were_cut() {
    let log = log();
    let news = Topic::parse("news").unwrap();
    append_all(
        &log,
        [
            (1, event(to(&["1", "2"]), "x", true)),
            (2, event(Target::Topic(news.clone()), "x", true)),
            (3, event(Target::User(user("2")), "x", true)),
            (4, change("3", "a")),
            // From here on removed: chains that end earlier, at another place, or nowhere.
            (5, event(to(&["0", "1", "2", "9"]), "x", true)),
            (6, event(Target::Topic(news.clone()), "x", true)),
            (7, broadcast("x")),
            (8, event(to(&["0", "2"]), "x", true)),
            (9, change("3", "a")),
        ],
    );
    let removed = log.truncate_after(id(4));
    assert_eq!(seqs(&removed), [5, 6, 7, 8, 9]);
    let news = std::slice::from_ref(&news);
    let all_of = |user: &str, topics: &[Topic]| -> Vec<u64> {
        let ids = missed(&log, user, topics, &ORIGIN.to_string());
        ids.iter().map(|id| id.seq).collect()
    };
    assert_eq!(all_of("0", news), [2]);
    assert_eq!(all_of("1", &[]), [1]);
    assert_eq!(all_of("2", news), [1, 2, 3]);
    assert!(all_of("9", &[]).is_empty());
    append_all(
        &log,
        [
            (10, event(to(&["0", "1", "2"]), "x", true)),
            (11, broadcast("x")),
            (12, event(Target::Topic(news[0].clone()), "x", true)),
        ],
    );
    assert_eq!(all_of("0", news), [2, 10, 11, 12]);
    assert_eq!(all_of("1", &[]), [1, 10, 11]);
    assert_eq!(all_of("2", news), [1, 2, 3, 10, 11, 12]);
    assert_eq!(all_of("9", &[]), [11]);
}

#[test]
fn a_cut_leaves_a_chain_whose_earlier_entries_are_evicted() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    append_all(
        &log,
        [
            (1, event(Target::User(user("1")), "x", true)),
            (2, Record::Mark),
        ],
    );
    dispatch_all(&log, 0);
    for seq in [3, 4] {
        log.append(id(seq), 900, event(Target::User(user("1")), "x", true))
            .unwrap();
    }
    log.expire(1_001);
    assert_eq!(log.retained().1, 2);
    log.truncate_after(id(3));
    assert_eq!(missed_after(&log, "1", 2), [3]);
    log.truncate_after(id(2));
    assert!(missed_after(&log, "1", 2).is_empty());
    broadcasts(&log, [5]);
    append_all(&log, [(6, event(Target::User(user("1")), "x", true))]);
    assert_eq!(missed_after(&log, "1", 2), [5, 6]);
}

#[test]
fn a_cut_before_everything_retained_leaves_the_floor() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    broadcasts(&log, [1, 2]);
    dispatch_all(&log, 0);
    log.expire(1_001);
    log.append(id(3), 1_001, broadcast("x")).unwrap();
    assert_eq!(seqs(&log.truncate_after(id(1))), [3]);
    assert_eq!(
        (log.newest_id(), log.dispatched_cursor().id),
        (id(2), id(2))
    );
    assert!(!has_gap(&log, 2) && has_gap(&log, 1) && has_gap(&log, 3));
    assert!(log.append(id(2), 0, Record::Mark).is_err());
}

#[test]
fn a_replay_of_an_earlier_generation_is_lost() {
    let cut = |log: &Log| drop(log.truncate_after(id(9)));
    let reset = |log: &Log| log.reset(id(20));
    for end in [cut as fn(&Log), reset] {
        let log = log();
        broadcasts(&log, 1..=9);
        let start = || {
            log.join(&newcomer("1", &[], &id(1).to_string()))
                .replay
                .unwrap()
        };
        let (mut begun, mut fresh) = (start(), start());
        let limit = PieceLimit {
            entries: 3,
            ..NO_LIMIT
        };
        assert_eq!(take(&log, &mut begun, limit).1.len(), 3);
        end(&log);
        for replay in [&mut begun, &mut fresh] {
            let (progress, taken) = take(&log, replay, NO_LIMIT);
            assert!(matches!(progress, Progress::Lost) && taken.is_empty());
        }
    }
}

#[test]
fn a_batch_from_before_a_cut_marks_only_what_is_left_of_it() {
    let log = log();
    broadcasts(&log, 1..=4);
    let batch = log.undispatched(10);
    log.truncate_after(id(2));
    assert_eq!(log.dispatched_position(), Position(0));
    broadcasts(&log, [7]);
    log.mark_dispatched(&batch[3], 0);
    // Nothing has a position between the removed entries and the next.
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(4),
            id: id(2)
        }
    );
    let next = log.undispatched(10);
    assert_eq!((seqs(&next), next[0].position), (vec![7], Position(5)));
    // Everything in the batch was removed.
    log.truncate_after(id(2));
    assert_eq!(log.dispatched_position(), Position(5));
    broadcasts(&log, [8]);
    log.mark_dispatched(&next[0], 0);
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(5),
            id: id(2)
        }
    );
    dispatch_all(&log, 0);
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(6),
            id: id(8)
        }
    );
}

#[test]
fn a_log_begins_again_after_a_reset() {
    let log = Log::new(1 << 20, Duration::from_secs(60), ORIGIN);
    append_all(
        &log,
        [
            (1, broadcast("x")),
            (2, event(Target::All, "fleeting", false)),
        ],
    );
    dispatch_all(&log, 0);
    append_all(
        &log,
        [
            (3, broadcast("x")),
            (4, event(Target::All, "fleeting", false)),
        ],
    );
    log.lose_before(id(3));
    let batch = log.undispatched(10);
    let (floor, first) = (EventId { ms: 500, seq: 0 }, EventId { ms: 500, seq: 1 });
    log.reset(floor);
    assert_eq!(log.retained(), (0, 0));
    assert!(log.undispatched(10).is_empty());
    assert_eq!((log.head(), log.newest_id()), (Position(4), floor));
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(4),
            id: floor
        }
    );
    log.mark_dispatched(&batch[1], 0);
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(4),
            id: floor
        }
    );
    // As at a start, with lower ids than before.
    log.restore(first, Duration::from_secs(1), 0, broadcast("y"));
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(5),
            id: first
        }
    );
    assert!(has_gap(&log, 1) && has_gap(&log, 3));
    assert_eq!(missed(&log, "1", &[], &floor.to_string()), [first]);
    broadcasts(&log, [1]);
    assert_eq!(missed(&log, "1", &[], &first.to_string()), [id(1)]);
    dispatch_all(&log, 0);
    assert_eq!(
        log.dispatched_cursor(),
        Cursor {
            position: Position(6),
            id: id(1)
        }
    );
    log.expire(59_001);
    assert_eq!(log.retained().1, 1, "the restored entry is older");
}

/// Polls once.
fn now<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_wait_for_an_entry_that_is_removed_ends() {
    let cut = |log: &Log| drop(log.truncate_after(id(1)));
    let reset = |log: &Log| log.reset(id(1));
    for end in [cut as fn(&Log), reset] {
        let log = log();
        let since = log.generation();
        broadcasts(&log, [1, 2]);
        let mut removed = Box::pin(log.dispatched(id(2), since));
        // The store has answered, but its entry has not come yet.
        let mut never_came = Box::pin(log.dispatched(id(3), since));
        assert_eq!((now(&mut removed), now(&mut never_came)), (None, None));
        end(&log);
        assert_eq!(
            (now(&mut removed), now(&mut never_came)),
            (Some(false), Some(false))
        );
        // Later entries do not count for it.
        broadcasts(&log, [9]);
        dispatch_all(&log, 0);
        assert_eq!(
            now(&mut Box::pin(log.dispatched(id(2), since))),
            Some(false)
        );
        let since = log.generation();
        assert_eq!(now(&mut Box::pin(log.dispatched(id(9), since))), Some(true));
    }
}

#[test]
fn a_wait_for_an_entry_that_is_left_goes_on() {
    let log = log();
    let since = log.generation();
    broadcasts(&log, [1, 2]);
    let mut left = Box::pin(log.dispatched(id(1), since));
    assert_eq!(now(&mut left), None);
    log.truncate_after(id(1));
    assert_eq!(now(&mut left), None);
    dispatch_all(&log, 0);
    assert_eq!(now(&mut left), Some(true));
}

#[test]
fn a_cut_makes_room() {
    let log = log();
    broadcasts(&log, 1..=MAX_UNDISPATCHED);
    let mut room = Box::pin(log.room());
    assert_eq!(now(&mut room), None);
    log.truncate_after(id(1));
    assert_eq!(now(&mut room), Some(()));
}

#[test]
fn after_a_new_beginning_a_gap_covers_the_id_of_the_first_entry() {
    let log = log();
    broadcasts(&log, [1, 2]);
    log.reset(id(6));
    append_all(&log, [(7, Record::Resync)]);
    log.begin_after(id(7));
    broadcasts(&log, [8, 9]);
    let joined = log.join(&newcomer("1", &[], &id(2).to_string()));
    assert!(joined.gap.is_some());
    // Event 7 was dropped, so what follows begins after it.
    assert_eq!(joined.id, id(7));
    assert_eq!(missed_after(&log, "1", 7), [8, 9]);
    assert!(!has_gap(&log, 7));
}
