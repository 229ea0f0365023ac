#[path = "tests/cut_model.rs"]
mod cut_model;
#[path = "tests/model.rs"]
mod model;
#[path = "tests/shared_store.rs"]
mod shared_store;

use super::*;
use crate::event::{EventName, Position, SessionChange, Target, UserId, Users};
use crate::hub::log::handover::Replayed;
use crate::hub::log::join::Gap;
use crate::hub::log::state::{MAX_BATCH_BYTES, MAX_EVICTED, MAX_UNDISPATCHED};
use crate::topic::Topic;
use crate::wire::{Event, Signal};
use proptest::prelude::*;

const ORIGIN: EventId = EventId { ms: 100, seq: 7 };

const NO_LIMIT: PieceLimit = PieceLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

fn event(to: Target, data: &str, is_kept: bool) -> Record {
    Record::Event {
        to,
        name: EventName::default(),
        data: data.into(),
        is_kept,
    }
}

fn broadcast(data: &str) -> Record {
    event(Target::All, data, true)
}

fn change(id: &str, keep: &str) -> Record {
    let change = SessionChange {
        user: user(id),
        keep: Some(keep.into()),
        at_unix_ms: 1_000,
    };
    Record::Session {
        change,
        data: "FORCE_LOGOUT".into(),
    }
}

/// Appends a record with the next id.
fn append(log: &Log, unix_ms: u64, now_ms: u64, record: Record) -> EventId {
    let id = log.newest_id().next(unix_ms);
    log.append(id, now_ms, record).unwrap();
    id
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn newcomer<'a>(user: &'a str, topics: &'a [Topic], last_event_id: &'a str) -> JoinRequest<'a> {
    JoinRequest {
        user,
        session: None,
        topics,
        last_event_id: Some(last_event_id),
        settled: Position(0),
    }
}

fn dispatch_all(log: &Log, now_ms: u64) {
    while let Some(last) = log.undispatched(1_000).last() {
        log.mark_dispatched(last, now_ms);
    }
}

/// Takes the next piece that is not empty. Walking back takes several calls.
fn take(log: &Log, replay: &mut Replay, limit: PieceLimit) -> (Progress, Vec<EventId>) {
    let mut piece = Vec::new();
    loop {
        let progress = log.replay(replay, limit, &mut piece);
        if let Progress::Moved = progress {
            replay.confirm();
            continue;
        }
        if !matches!(progress, Progress::More) || !piece.is_empty() {
            return (progress, piece.iter().map(|entry| entry.id).collect());
        }
    }
}

/// The ids that a client gets which resumes from `last_event_id`.
fn missed(log: &Log, user: &str, topics: &[Topic], last_event_id: &str) -> Vec<EventId> {
    let Some(mut replay) = log.join(&newcomer(user, topics, last_event_id)).replay else {
        return Vec::new();
    };
    let (progress, ids) = take(log, &mut replay, NO_LIMIT);
    assert!(matches!(progress, Progress::CaughtUp(at) if at == log.head()));
    ids
}

#[tokio::test]
async fn entries_come_out_once_and_in_order() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    for _ in 0..3 {
        append(&log, 1_000, 0, broadcast("x"));
    }
    let first = log.next_batch(2).await;
    log.mark_dispatched(&first[1], 0);
    let second = log.next_batch(2).await;
    let positions =
        |batch: &[Arc<Entry>]| -> Vec<u64> { batch.iter().map(|entry| entry.position.0).collect() };
    assert_eq!(positions(&first), [1, 2]);
    assert_eq!(positions(&second), [3]);
}

#[test]
fn clients_from_before_a_loss_get_one_gap_and_everything_retained() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    log.begin_at(EventId { ms: 999, seq: 0 });
    let restore = |ms, seq, to, age_s| {
        let id = EventId { ms, seq };
        log.restore(id, Duration::from_secs(age_s), 0, event(to, "x", true));
        id
    };
    let gone = restore(1_000, 0, Target::All, 600);
    let first = restore(1_000, 1, Target::User(user("1")), 100);
    let second = restore(1_001, 0, Target::User(user("1")), 50);
    let marker = restore(2_000, 0, Target::Users(Users::new(Vec::new())), 0);
    let join = |user: &str, id: EventId| log.join(&newcomer(user, &[], &id.to_string()));
    assert!(join("1", gone).gap.is_none() && join("1", first).gap.is_none());
    log.lose_before(marker);
    for id in [ORIGIN, gone, first, second] {
        let joined = join("1", id);
        assert!(joined.gap.is_some(), "{id}");
        assert!(joined.id != gone && joined.id < first);
        assert_eq!(missed(&log, "1", &[], &id.to_string()), [first, second]);
        // The gap is reported once, even to a client that gets nothing.
        assert!(join("1", joined.id).gap.is_none());
        assert_eq!(
            missed(&log, "1", &[], &joined.id.to_string()),
            [first, second]
        );
        let joined = join("2", id);
        assert!(joined.gap.is_some() && joined.replay.is_none());
        assert_eq!(joined.id, marker);
    }
    assert!(join("1", marker).gap.is_none());
    // The entries before the marker expire, and then the marker.
    for (now_ms, oldest) in [
        (500_001, Some(second)),
        (550_001, Some(marker)),
        (600_001, None),
    ] {
        log.expire(now_ms);
        let joined = join("1", first);
        assert_eq!(joined.gap, Some(Gap { oldest }));
        assert!(join("1", joined.id).gap.is_none() && join("1", marker).gap.is_none());
    }
    let live = append(&log, 3_000, 0, broadcast("x"));
    assert_eq!(missed(&log, "1", &[], &marker.to_string()), [live]);
    assert!(join("1", marker).gap.is_none() && join("1", second).gap.is_some());
}

#[tokio::test]
async fn an_undispatched_entry_is_not_evicted() {
    let log = Log::new(1, Duration::ZERO, ORIGIN);
    append(&log, 1_000, 0, broadcast("x"));
    append(&log, 1_000, 0, broadcast("y"));
    log.expire(10_000);
    assert_eq!(log.retained().1, 2);
    let batch = log.next_batch(10).await;
    log.mark_dispatched(&batch[0], 10_000);
    assert_eq!(log.retained().1, 1);
    log.mark_dispatched(&batch[1], 10_000);
    assert_eq!(log.retained(), (0, 0));
}

#[tokio::test]
async fn a_batch_is_bounded_by_its_bytes() {
    let log = Log::new(1 << 30, Duration::from_secs(600), ORIGIN);
    let data = "d".repeat(MAX_BATCH_BYTES);
    for _ in 0..2 {
        append(&log, 1_000, 0, broadcast(&data));
    }
    assert_eq!(log.next_batch(10).await.len(), 1);
}

#[test]
fn an_event_that_is_not_kept_is_gone_after_dispatch() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    let kept = append(&log, 1_000, 0, broadcast("kept"));
    let (bytes, _) = log.retained();
    append(&log, 1_000, 0, event(Target::All, "fleeting", false));
    assert!(log.retained().0 > bytes);
    assert_eq!(log.undispatched(10).len(), 2);
    dispatch_all(&log, 0);
    assert_eq!(log.retained(), (bytes, 1));
    let after = append(&log, 1_000, 0, broadcast("after"));
    assert_eq!(missed(&log, "1", &[], &kept.to_string()), [after]);
}

#[test]
fn a_client_gets_its_entries_after_its_last_event() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    let news = Topic::parse("news").unwrap();
    let targets = [
        Target::All,
        Target::User(user("1")),
        Target::User(user("2")),
        Target::Topic(news.clone()),
        Target::Users(Users::new(vec![user("2"), user("3"), user("1")])),
        Target::All,
    ];
    let ids: Vec<EventId> = targets
        .into_iter()
        .map(|to| append(&log, 1_000, 0, event(to, "x", true)))
        .collect();
    let after = |user: &str, topics: &[Topic], nth: usize| -> Vec<usize> {
        let missed = missed(&log, user, topics, &ids[nth].to_string());
        let nth = |id| ids.iter().position(|other| *other == id).unwrap();
        missed.into_iter().map(nth).collect()
    };
    assert_eq!(after("1", &[], 0), [1, 4, 5]);
    assert_eq!(after("2", std::slice::from_ref(&news), 0), [2, 3, 4, 5]);
    assert_eq!(after("3", &[], 2), [4, 5]);
    assert_eq!(after("4", &[], 4), [5]);
    assert_eq!(after("1", &[news], 5), [0; 0]);
}

#[test]
fn an_id_that_the_log_does_not_know_is_a_gap() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    assert_eq!(
        log.join(&newcomer("1", &[], "1-0")).gap,
        Some(Gap { oldest: None })
    );
    let ids: Vec<EventId> = (0..4)
        .map(|n| append(&log, 1_000 * (n + 1), 1_000 * n, broadcast("x")))
        .collect();
    dispatch_all(&log, 3_000);
    log.expire(2_500);
    let oldest = Some(ids[2]);
    for (known, id) in [
        // The client has missed the entry after this one.
        (false, ids[0].to_string()),
        (false, ORIGIN.to_string()),
        // No entry after it is gone.
        (true, ids[1].to_string()),
        (true, ids[2].to_string()),
        (true, ids[3].to_string()),
        // Never assigned; from the future; malformed.
        (false, format!("{}-7", ids[2].ms)),
        (false, "99999999-0".to_owned()),
        (false, "nonsense".to_owned()),
    ] {
        let joined = log.join(&newcomer("1", &[], &id));
        assert_eq!(joined.gap, (!known).then_some(Gap { oldest }), "{id}");
        if !known {
            assert_eq!(missed(&log, "1", &[], &id), ids[2..], "{id}");
        }
    }
    // The id to resume from: the client's own, the one before what follows, or the newest.
    let told = |id: &str| log.join(&newcomer("1", &[], id)).id;
    assert_eq!(told(&ids[2].to_string()), ids[2]);
    assert_eq!(told("nonsense"), ids[1]);
    // A client without a last id.
    let joined = log.join(&JoinRequest {
        last_event_id: None,
        ..newcomer("1", &[], "")
    });
    assert!(joined.gap.is_none() && joined.replay.is_none());
    assert_eq!(joined.id, ids[3]);
}

#[test]
fn an_empty_log_has_an_id_and_reports_a_gap_once() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    let asks_for_nothing = JoinRequest {
        last_event_id: None,
        ..newcomer("1", &[], "")
    };
    assert_eq!(log.join(&asks_for_nothing).id, ORIGIN);
    let foreign = log.join(&newcomer("1", &[], "7-7"));
    assert!(foreign.gap.is_some());
    assert_eq!(foreign.id, ORIGIN);
    let again = log.join(&newcomer("1", &[], &foreign.id.to_string()));
    assert_eq!((again.gap, again.id), (None, ORIGIN));
    // No event gets the origin as its id, whatever the clock says.
    let first = append(&log, ORIGIN.ms, 0, broadcast("x"));
    assert!(first > ORIGIN);
    assert_eq!(missed(&log, "1", &[], &ORIGIN.to_string()), [first]);
    // The log is empty again, at another id.
    dispatch_all(&log, 0);
    log.expire(2_000);
    assert_eq!(log.retained().1, 0);
    assert_eq!(log.join(&asks_for_nothing).id, first);
    assert!(
        log.join(&newcomer("1", &[], &first.to_string()))
            .gap
            .is_none()
    );
    let late = log.join(&newcomer("1", &[], &ORIGIN.to_string()));
    assert!(late.gap.is_some(), "the client has missed the first event");
    assert_eq!(late.id, first);
}

#[test]
fn a_client_that_missed_nothing_gets_no_gap_when_its_last_event_is_gone() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    let news = [Topic::parse("news").unwrap()];
    let targets = [
        Target::User(user("1")),
        Target::User(user("2")),
        Target::Users(Users::new(vec![user("2"), user("3")])),
        Target::Topic(news[0].clone()),
    ];
    let publish = |to| append(&log, 1_000, 0, event(to, "x", true));
    let mut ids: Vec<EventId> = targets.into_iter().map(publish).collect();
    ids.push(append(&log, 1_000, 0, change("1", "a")));
    dispatch_all(&log, 0);
    log.expire(2_000);
    assert_eq!(log.retained().1, 0);
    let is_gap = |user: &str, topics: &[Topic], nth: usize| {
        let joined = log.join(&newcomer(user, topics, &ids[nth].to_string()));
        joined.gap.is_some()
    };
    assert!(!is_gap("1", &[], 0), "later events were for others");
    assert!(is_gap("1", &news, 0) && !is_gap("1", &news, 3));
    assert!(is_gap("2", &[], 1), "the list contains this user as well");
    assert!(!is_gap("2", &[], 2) && !is_gap("3", &[], 2));
    assert!(is_gap("3", &[], 1));
    assert!(!is_gap("9", &[], 1) && !is_gap("9", &[], 4));
    // An id between existing ones is unknown.
    let other = EventId { seq: 99, ..ids[0] };
    let joined = log.join(&newcomer("9", &[], &other.to_string()));
    assert!(joined.gap.is_some());
    // Later evictions count from there as well, and a broadcast concerns everybody.
    let all = append(&log, 1_000, 2_000, broadcast("x"));
    dispatch_all(&log, 2_000);
    assert_eq!(missed(&log, "1", &[], &ids[0].to_string()), [all]);
    log.expire(4_000);
    assert!(is_gap("1", &[], 0) && is_gap("9", &[], 4));
    assert!(
        log.join(&newcomer("1", &[], &all.to_string()))
            .gap
            .is_none()
    );
}

#[test]
fn traces_of_evicted_entries_are_bounded_and_counted() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    let mut ids = Vec::new();
    for _ in 0..20 {
        for _ in 0..1_000 {
            ids.push(append(
                &log,
                1_000,
                0,
                event(Target::User(user("2")), "x", true),
            ));
        }
        dispatch_all(&log, 0);
        log.expire(2_000);
    }
    let (bytes, entries) = log.retained();
    assert_eq!(entries, 0);
    assert!((1..=1 << 18).contains(&bytes), "{bytes} bytes");
    let is_gap = |id: &EventId| log.join(&newcomer("1", &[], &id.to_string())).gap.is_some();
    let known = ids.iter().filter(|id| !is_gap(id)).count();
    assert!((1..=4_096).contains(&known), "{known} are known");
    assert!(ids[ids.len() - known..].iter().all(|id| !is_gap(id)));
}

#[test]
fn a_session_change_has_an_id_and_is_never_replayed() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    let before = append(&log, 1_000, 0, broadcast("x"));
    let change = append(&log, 1_000, 0, change("1", "a"));
    let settled = log.head();
    let after = append(&log, 1_000, 0, broadcast("y"));
    for last in [before, change] {
        let id = last.to_string();
        let client = JoinRequest {
            settled,
            ..newcomer("1", &[], &id)
        };
        let mut replay = log.join(&client).replay.unwrap();
        assert_eq!(take(&log, &mut replay, NO_LIMIT).1, [after]);
    }
}

#[test]
fn a_replay_that_eviction_overtakes_is_lost() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    let first = append(&log, 1_000, 0, broadcast("0"));
    for n in 1..10 {
        append(&log, 1_000, n * 100, broadcast(&n.to_string()));
    }
    dispatch_all(&log, 900);
    let mut replay = log
        .join(&newcomer("1", &[], &first.to_string()))
        .replay
        .unwrap();
    let limit = PieceLimit {
        entries: 3,
        ..NO_LIMIT
    };
    let (progress, first_piece) = take(&log, &mut replay, limit);
    assert!(matches!(progress, Progress::More) && first_piece.len() == 3);
    log.expire(1_301);
    let (progress, _) = take(&log, &mut replay, limit);
    assert!(matches!(progress, Progress::More));
    log.expire(2_000);
    let (progress, _) = take(&log, &mut replay, limit);
    assert!(matches!(progress, Progress::Lost));
}

#[test]
fn a_client_with_a_gap_begins_with_what_is_still_retained() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    let ids: Vec<EventId> = (0..10)
        .map(|n| append(&log, 1_000, n * 100, broadcast("x")))
        .collect();
    dispatch_all(&log, 900);
    let mut replay = log.join(&newcomer("1", &[], "1-1")).replay.unwrap();
    log.expire(1_401);
    let (progress, taken) = take(&log, &mut replay, NO_LIMIT);
    assert!(matches!(progress, Progress::CaughtUp(at) if at == log.head()));
    assert_eq!(taken, ids[5..]);
}

#[test]
fn a_replay_that_is_interrupted_counts_what_was_taken_and_nothing_else() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    let ids: Vec<EventId> = (0..6)
        .map(|_| append(&log, 1_000, 0, broadcast("x")))
        .collect();
    dispatch_all(&log, 0);
    let joined = log.join(&newcomer("1", &[], &ids[0].to_string()));
    let mut replay = joined.replay.unwrap();
    let up_to = |replay: &Replay| log.replayed_up_to(replay, log.head());
    assert_eq!(up_to(&replay), Replayed::UpTo(ids[0]));
    let limit = PieceLimit {
        entries: 2,
        ..NO_LIMIT
    };
    for taken in [&ids[1..3], &ids[3..5], &ids[5..]] {
        let (_, piece) = take(&log, &mut replay, limit);
        assert_eq!(piece, taken);
        assert_eq!(up_to(&replay), Replayed::UpTo(taken[taken.len() - 1]));
    }
}

#[test]
fn a_replay_ends_where_its_clients_session_does() {
    let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
    let first = append(&log, 1_000, 0, broadcast("0"));
    let earlier = append(&log, 1_000, 0, change("1", "b"));
    let settled = log.head();
    let second = append(&log, 1_000, 0, broadcast("1"));
    append(&log, 1_000, 0, change("2", "b"));
    let end = append(&log, 1_000, 0, change("1", "b"));
    let third = append(&log, 1_000, 0, broadcast("2"));
    let of = |session, settled| {
        let id = first.to_string();
        let client = JoinRequest {
            session,
            settled,
            ..newcomer("1", &[], &id)
        };
        let mut replay = log.join(&client).replay.unwrap();
        let (progress, ids) = take(&log, &mut replay, NO_LIMIT);
        let end = match progress {
            Progress::Ended(entry) => Some(entry.id),
            _ => None,
        };
        (end, ids)
    };
    // Admitted after the earlier change, and in spite of it.
    assert_eq!(of(Some("a"), settled), (Some(end), vec![second]));
    assert_eq!(of(None, settled), (Some(end), vec![second]));
    assert_eq!(of(Some("b"), settled), (None, vec![second, third]));
    // Admitted before the earlier change was in force.
    assert_eq!(of(Some("a"), Position(0)), (Some(earlier), vec![]));
}

#[test]
fn a_client_gets_nothing_after_its_sessions_end_even_if_the_change_is_evicted() {
    let log = Log::new(1 << 20, Duration::from_secs(1), ORIGIN);
    append(&log, 1_000, 0, broadcast("0"));
    // One client got a gap. The other resumes from an id that is not dispatched yet.
    let mut told_of_a_gap = log.join(&newcomer("1", &[], "1-1")).replay.unwrap();
    append(&log, 1_000, 0, change("1", "b"));
    let change = log.undispatched(10).pop().unwrap();
    let later = append(&log, 1_000, 900, broadcast("1")).to_string();
    append(&log, 1_000, 900, broadcast("2"));
    let mut ahead = log.join(&newcomer("1", &[], &later)).replay.unwrap();
    dispatch_all(&log, 900);
    log.expire(1_100);
    assert_eq!(log.retained().1, 2, "the change is evicted");
    for replay in [&mut told_of_a_gap, &mut ahead] {
        replay.end_at(Arc::clone(&change));
        let (progress, taken) = take(&log, replay, NO_LIMIT);
        assert!(matches!(progress, Progress::Ended(end) if end.id == change.id));
        assert_eq!(taken, [], "later events are not for this client");
    }
}

#[test]
fn many_entries_that_expire_together_are_dropped_in_slices() {
    let log = Log::new(1 << 30, Duration::from_secs(1), ORIGIN);
    for _ in 0..3 * MAX_EVICTED {
        append(&log, 1_000, 0, broadcast("x"));
    }
    dispatch_all(&log, 0);
    append(&log, 1_000, 5_000, broadcast("y"));
    assert_eq!(log.retained().1, 2 * MAX_EVICTED + 1);
    log.expire(5_000);
    assert_eq!(log.retained().1, 1);
}

#[test]
fn restored_entries_are_retained_and_not_dispatched_again() {
    let log = Log::new(1 << 20, Duration::from_secs(60), ORIGIN);
    let id = |n| EventId { ms: n, seq: 0 };
    log.begin_at(id(1).before());
    for n in 1..=3 {
        // The first is too old to stay.
        let age = Duration::from_secs(80 - 20 * n);
        log.restore(id(n), age, 0, broadcast("x"));
    }
    assert_eq!(log.retained().1, 2);
    assert!(log.undispatched(10).is_empty());
    assert_eq!(missed(&log, "1", &[], "2-0"), [id(3)]);
    // The log begins at the entry that was too old.
    assert_eq!(missed(&log, "1", &[], "1-0"), [id(2), id(3)]);
    // Ids go on rising even though the clock went back.
    assert_eq!(
        append(&log, 1, 0, broadcast("y")),
        EventId { ms: 3, seq: 1 }
    );
    dispatch_all(&log, 0);
    log.expire(20_001);
    assert_eq!(log.retained().1, 2);
}

proptest! {
    #[test]
    fn an_event_is_replayed_as_it_was_published(data in "\\PC{0,80}") {
        let log = Log::new(1 << 20, Duration::from_secs(600), ORIGIN);
        let first = append(&log, 1_000, 0, broadcast("x"));
        let id = append(&log, 1_000, 0, broadcast(&data));
        let mut replay = log.join(&newcomer("1", &[], &first.to_string())).replay.unwrap();
        let mut piece = Vec::new();
        log.replay(&mut replay, NO_LIMIT, &mut piece);
        let name = EventName::DEFAULT;
        let event = Event { id: Some(id), name, data: &data };
        prop_assert_eq!(piece[0].signal(), Signal::Event(event));
    }
}
