use super::*;
use crate::event::{SessionChange, Target, UserId, Users};
use crate::frame::{Frame, Framing};
use crate::topic::Topic;
use proptest::prelude::*;

const NO_LIMIT: PieceLimit = PieceLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

fn event(to: Target, data: &str, persist: bool) -> impl FnOnce(EventId) -> Record {
    move |id| Record::Event {
        to,
        frame: Frame::event(persist.then_some(id), "message", data),
        persist,
    }
}

fn broadcast(data: &str) -> impl FnOnce(EventId) -> Record {
    event(Target::All, data, true)
}

fn change(id: &str, keep: &str) -> impl FnOnce(EventId) -> Record {
    let change = SessionChange {
        user: user(id),
        keep: Some(keep.into()),
        at_unix_ms: 1_000,
    };
    move |id| Record::Session {
        change,
        frame: Frame::event(Some(id), "message", "FORCE_LOGOUT"),
    }
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn newcomer<'a>(user: &'a str, topics: &'a [Topic], last_event_id: &'a str) -> Newcomer<'a> {
    Newcomer {
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

/// The next piece that is not empty; walking back takes several calls.
fn take(log: &Log, replay: &mut Replay, limit: PieceLimit) -> (Progress, Vec<EventId>) {
    let mut piece = Vec::new();
    loop {
        let progress = log.replay(replay, limit, &mut piece);
        if !matches!(progress, Progress::More) || !piece.is_empty() {
            return (progress, piece.iter().map(|entry| entry.id).collect());
        }
    }
}

/// What a client that was at `last_event_id` gets.
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
    let log = Log::new(1 << 20, Duration::from_secs(600));
    for _ in 0..3 {
        log.append(1_000, 0, broadcast("x"));
    }
    let first = log.next_batch(2).await;
    log.mark_dispatched(&first[1], 0);
    let second = log.next_batch(2).await;
    let positions =
        |batch: &[Arc<Entry>]| -> Vec<u64> { batch.iter().map(|entry| entry.position.0).collect() };
    assert_eq!(positions(&first), [1, 2]);
    assert_eq!(positions(&second), [3]);
}

#[tokio::test]
async fn what_is_not_dispatched_is_not_evicted() {
    let log = Log::new(1, Duration::ZERO);
    log.append(1_000, 0, broadcast("x"));
    log.append(1_000, 0, broadcast("y"));
    log.expire(10_000);
    assert_eq!(log.retained().1, 2);
    let batch = log.next_batch(10).await;
    log.mark_dispatched(&batch[0], 10_000);
    assert_eq!(log.retained().1, 1);
    log.mark_dispatched(&batch[1], 10_000);
    assert_eq!(log.retained(), (0, 0));
}

#[tokio::test]
async fn the_reader_waits_while_too_much_is_on_its_way() {
    let log = Log::new(1 << 30, Duration::from_secs(600));
    let data = "d".repeat(MAX_BATCH_BYTES);
    let mut on_the_way = Vec::new();
    for _ in 0..MAX_IN_FLIGHT_BYTES / MAX_BATCH_BYTES {
        log.append(1_000, 0, broadcast(&data));
        let batch = log.next_batch(10).await;
        assert_eq!(batch.len(), 1, "a batch is bounded by its bytes");
        log.expect_shards(&batch[0], 2);
        log.mark_dispatched(&batch[0], 0);
        on_the_way.extend(batch);
    }
    log.append(1_000, 0, broadcast("x"));
    let mut next = Box::pin(log.next_batch(10));
    let mut waits = async || {
        tokio::select! {
            biased;
            _ = &mut next => false,
            () = tokio::task::yield_now() => true,
        }
    };
    assert!(waits().await);
    assert!(!log.finish_shard(&on_the_way[0]) && waits().await);
    assert!(log.finish_shard(&on_the_way[0]) && !waits().await);
}

#[test]
fn what_is_not_kept_is_gone_when_it_was_dispatched() {
    let log = Log::new(1 << 20, Duration::from_secs(600));
    let kept = log.append(1_000, 0, broadcast("kept"));
    let (bytes, _) = log.retained();
    log.append(1_000, 0, event(Target::All, "fleeting", false));
    assert!(log.retained().0 > bytes);
    assert_eq!(log.undispatched(10).len(), 2);
    dispatch_all(&log, 0);
    assert_eq!(log.retained(), (bytes, 1));
    let after = log.append(1_000, 0, broadcast("after"));
    assert_eq!(missed(&log, "1", &[], &kept.to_string()), [after]);
}

#[test]
fn a_client_gets_what_was_for_it_after_its_last_event() {
    let log = Log::new(1 << 20, Duration::from_secs(600));
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
        .map(|to| log.append(1_000, 0, event(to, "x", true)))
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
fn an_id_that_the_log_does_not_hold_is_a_gap() {
    let log = Log::new(1 << 20, Duration::from_secs(1));
    assert_eq!(
        log.join(&newcomer("1", &[], "1-0")).gap,
        Some(Gap { oldest: None })
    );
    let ids: Vec<EventId> = (0..4)
        .map(|n| log.append(1_000 * (n + 1), 1_000 * n, broadcast("x")))
        .collect();
    dispatch_all(&log, 3_000);
    log.expire(2_500);
    let oldest = Some(ids[2]);
    for (known, id) in [
        (false, ids[1].to_string()),
        (true, ids[2].to_string()),
        (true, ids[3].to_string()),
        // Not one that was ever given out; from the future; of no form at all.
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
    // Nobody asked.
    let joined = log.join(&Newcomer {
        last_event_id: None,
        ..newcomer("1", &[], "")
    });
    assert!(joined.gap.is_none() && joined.replay.is_none());
}

#[test]
fn a_session_change_has_an_id_and_is_replayed_to_nobody() {
    let log = Log::new(1 << 20, Duration::from_secs(600));
    let before = log.append(1_000, 0, broadcast("x"));
    let change = log.append(1_000, 0, change("1", "a"));
    let settled = log.head();
    let after = log.append(1_000, 0, broadcast("y"));
    for last in [before, change] {
        let id = last.to_string();
        let client = Newcomer {
            settled,
            ..newcomer("1", &[], &id)
        };
        let mut replay = log.join(&client).replay.unwrap();
        assert_eq!(take(&log, &mut replay, NO_LIMIT).1, [after]);
    }
}

#[test]
fn a_replay_that_eviction_overtakes_says_so() {
    let log = Log::new(1 << 20, Duration::from_secs(1));
    let first = log.append(1_000, 0, broadcast("0"));
    for n in 1..10 {
        log.append(1_000, n * 100, broadcast(&n.to_string()));
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
fn who_was_told_of_a_gap_begins_with_what_is_left() {
    let log = Log::new(1 << 20, Duration::from_secs(1));
    let ids: Vec<EventId> = (0..10)
        .map(|n| log.append(1_000, n * 100, broadcast("x")))
        .collect();
    dispatch_all(&log, 900);
    let mut replay = log.join(&newcomer("1", &[], "1-1")).replay.unwrap();
    log.expire(1_401);
    let (progress, taken) = take(&log, &mut replay, NO_LIMIT);
    assert!(matches!(progress, Progress::CaughtUp(at) if at == log.head()));
    assert_eq!(taken, ids[5..]);
}

#[test]
fn a_replay_ends_where_its_clients_session_does() {
    let log = Log::new(1 << 20, Duration::from_secs(600));
    let first = log.append(1_000, 0, broadcast("0"));
    let earlier = log.append(1_000, 0, change("1", "b"));
    let settled = log.head();
    let second = log.append(1_000, 0, broadcast("1"));
    log.append(1_000, 0, change("2", "b"));
    let end = log.append(1_000, 0, change("1", "b"));
    let third = log.append(1_000, 0, broadcast("2"));
    let of = |session, settled| {
        let id = first.to_string();
        let client = Newcomer {
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
    // Let in after the earlier change, and in spite of it.
    assert_eq!(of(Some("a"), settled), (Some(end), vec![second]));
    assert_eq!(of(None, settled), (Some(end), vec![second]));
    assert_eq!(of(Some("b"), settled), (None, vec![second, third]));
    // Let in before it was in force.
    assert_eq!(of(Some("a"), Position(0)), (Some(earlier), vec![]));
}

#[test]
fn what_an_earlier_process_stored_is_there_and_nothing_is_sent_again() {
    let log = Log::new(1 << 20, Duration::from_secs(60));
    let id = |n| EventId { ms: n, seq: 0 };
    for n in 1..=3 {
        // The first is too old to stay.
        let age = Duration::from_secs(80 - 20 * n);
        log.restore(id(n), age, 0, broadcast("x")(id(n)));
    }
    assert_eq!(log.retained().1, 2);
    assert!(log.undispatched(10).is_empty());
    assert_eq!(missed(&log, "1", &[], "2-0"), [id(3)]);
    // Ids go on rising although the clock went back.
    assert_eq!(log.append(1, 0, broadcast("y")), EventId { ms: 3, seq: 1 });
    dispatch_all(&log, 0);
    log.expire(20_001);
    assert_eq!(log.retained().1, 2);
    log.restore_last_id(id(9));
    assert_eq!(log.append(1, 0, broadcast("z")), EventId { ms: 9, seq: 1 });
}

/// A client of the model: who it is, what it has, and its replay while it has one.
struct Client {
    user: usize,
    topics: Vec<Topic>,
    /// Of the model's events, those up to this one do not concern it any more.
    seen: usize,
    /// It was told of a gap and has got nothing since: eviction only moves where it begins.
    begins_with_the_oldest: bool,
    replay: Option<Replay>,
}

/// An event of the model.
#[derive(Clone, Debug)]
struct Published {
    id: EventId,
    to: Target,
    accepted_ms: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// To this target, with so many bytes.
    Publish(Target, usize),
    /// After the model's nth event, counted from its newest; an unknown id where there is none.
    Join(usize, Vec<usize>, usize),
    /// So many entries at once.
    Take(usize),
    Dispatch,
    /// Milliseconds.
    Pass(u64),
}

const TOPICS: [&str; 3] = ["a", "b/c", "b/d"];

fn topic(n: usize) -> Topic {
    Topic::parse(TOPICS[n]).unwrap()
}

fn target() -> impl Strategy<Value = Target> {
    let id = || (0usize..4).prop_map(|n| user(&n.to_string()));
    prop_oneof![
        3 => id().prop_map(Target::User),
        2 => prop::collection::vec(id(), 0..4).prop_map(|users| Target::Users(Users::new(users))),
        2 => (0usize..TOPICS.len()).prop_map(|n| Target::Topic(topic(n))),
        2 => Just(Target::All),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let topics = prop::collection::btree_set(0usize..TOPICS.len(), 0..3);
    prop_oneof![
        8 => (target(), 0usize..300).prop_map(|(to, bytes)| Step::Publish(to, bytes)),
        3 => (0usize..4, topics, 0usize..40)
            .prop_map(|(user, topics, nth)| Step::Join(user, topics.into_iter().collect(), nth)),
        4 => (1usize..6).prop_map(Step::Take),
        3 => Just(Step::Dispatch),
        2 => (0u64..400).prop_map(Step::Pass),
    ]
}

fn is_for(to: &Target, who: usize, topics: &[Topic]) -> bool {
    let who = who.to_string();
    match to {
        Target::All => true,
        Target::User(user) => user.as_str() == who,
        Target::Users(users) => users.as_slice().iter().any(|user| user.as_str() == who),
        Target::Topic(topic) => topics.contains(topic),
    }
}

proptest! {
    /// All that was ever published, who has what of it, and how much of it is still there.
    #[test]
    fn the_log_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..120)) {
        let (max_bytes, max_age_ms) = (6_000, 1_000);
        let log = Log::new(max_bytes, Duration::from_millis(max_age_ms));
        let mut events: Vec<Published> = Vec::new();
        let mut clients: Vec<Client> = Vec::new();
        let (mut now_ms, mut dispatched) = (0, 0);
        for step in steps {
            match step {
                Step::Publish(to, bytes) => {
                    let data = "d".repeat(bytes);
                    let id = log.append(5_000, now_ms, event(to.clone(), &data, true));
                    events.push(Published { id, to, accepted_ms: now_ms });
                }
                Step::Dispatch => {
                    dispatch_all(&log, now_ms);
                    dispatched = events.len();
                }
                Step::Pass(ms) => {
                    now_ms += ms;
                    log.expire(now_ms);
                }
                Step::Join(user, topics, nth) => {
                    let retained = log.retained().1;
                    let oldest = events.len() - retained;
                    let last = events.len().checked_sub(nth + 1);
                    let id = last.map_or_else(|| "0-1".to_owned(), |last| events[last].id.to_string());
                    let topics: Vec<Topic> = topics.into_iter().map(topic).collect();
                    let joined = log.join(&newcomer(&user.to_string(), &topics, &id));
                    prop_assert_eq!(joined.position, log.head());
                    let known = last.filter(|last| *last >= oldest);
                    let gap = Gap { oldest: events.get(oldest).map(|event| event.id) };
                    prop_assert_eq!(joined.gap, known.is_none().then_some(gap));
                    let seen = known.map_or(oldest, |last| last + 1);
                    let some = events[seen..].iter().any(|event| is_for(&event.to, user, &topics));
                    prop_assert_eq!(joined.replay.is_some(), some);
                    clients.push(Client {
                        user,
                        topics,
                        seen,
                        begins_with_the_oldest: known.is_none(),
                        replay: joined.replay,
                    });
                }
                Step::Take(most) => {
                    let oldest = events.len() - log.retained().1;
                    for client in &mut clients {
                        let Some(replay) = &mut client.replay else { continue };
                        let mut piece = Vec::new();
                        let limit = PieceLimit { entries: most, ..NO_LIMIT };
                        let progress = log.replay(replay, limit, &mut piece);
                        let wanted: Vec<usize> = (client.seen.max(oldest)..events.len())
                            .filter(|n| is_for(&events[*n].to, client.user, &client.topics))
                            .collect();
                        let taken: Vec<EventId> = piece.iter().map(|entry| entry.id).collect();
                        let expected: Vec<EventId> =
                            wanted.iter().take(most).map(|n| events[*n].id).collect();
                        match progress {
                            Progress::Lost => {
                                // Only where something after what it has is gone.
                                prop_assert!(oldest > client.seen);
                                client.replay = None;
                                continue;
                            }
                            Progress::CaughtUp(position) => {
                                prop_assert_eq!(position, log.head());
                                prop_assert_eq!(taken.len(), wanted.len());
                                client.replay = None;
                            }
                            // A piece may be short, where the log was held for long enough.
                            Progress::More => prop_assert!(taken.len() <= most),
                            Progress::Ended(_) => prop_assert!(false, "nobody's session changed"),
                        }
                        prop_assert_eq!(&taken[..], &expected[..taken.len()]);
                        let is_mine = |event: &Published| is_for(&event.to, client.user, &client.topics);
                        let gone = &events[client.seen..client.seen.max(oldest)];
                        let goes_on = !taken.is_empty() || matches!(progress, Progress::CaughtUp(_));
                        let misses_some = goes_on && gone.iter().any(is_mine);
                        prop_assert!(client.begins_with_the_oldest || !misses_some);
                        client.begins_with_the_oldest &= taken.is_empty();
                        if let Some(last) = taken.last() {
                            client.seen = 1 + events.iter().position(|event| event.id == *last).unwrap();
                        }
                    }
                }
            }
            // What is retained is the newest, as much as age, size and dispatch allow.
            let (bytes, retained) = log.retained();
            let oldest = events.len() - retained;
            prop_assert!(oldest <= dispatched);
            let all_fits = bytes <= max_bytes || oldest == dispatched;
            prop_assert!(all_fits, "{bytes} bytes");
            if let Some(event) = events.get(oldest) {
                prop_assert!(now_ms <= event.accepted_ms + max_age_ms || oldest == dispatched);
            }
            if retained == 0 {
                prop_assert_eq!(bytes, 0);
            }
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_went_in(data in "\\PC{0,80}") {
        let log = Log::new(1 << 20, Duration::from_secs(600));
        let first = log.append(1_000, 0, broadcast("x"));
        let id = log.append(1_000, 0, broadcast(&data));
        let mut replay = log.join(&newcomer("1", &[], &first.to_string())).replay.unwrap();
        let mut piece = Vec::new();
        log.replay(&mut replay, NO_LIMIT, &mut piece);
        let frame = Frame::event(Some(id), "message", &data);
        prop_assert_eq!(
            piece[0].record.frame().bytes(Framing::Chunked),
            frame.bytes(Framing::Chunked)
        );
    }
}
