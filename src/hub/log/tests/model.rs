//! Compares the log with a list of all published events: what each client has, and what is still retained.

use super::*;

/// A client of the model: its user, what it has, and its replay, if one is under way.
struct Client {
    user: usize,
    topics: Vec<Topic>,
    /// The number of the model's events that do not concern the client any more.
    seen: usize,
    /// The id that the client would resume from.
    position: EventId,
    /// The client got a gap and nothing since, so eviction only moves its start.
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
    /// Publishes an event to this target, with so many bytes.
    Publish(Target, usize),
    /// A client resumes from the model's nth event, counted from the newest; from an unknown id if there is none.
    Join(usize, Vec<usize>, usize),
    /// A client connects for the first time.
    Come(usize, Vec<usize>),
    /// One of the clients was cut off, and reconnects.
    Return(usize),
    /// Each client takes up to so many entries.
    Take(usize),
    Dispatch,
    /// So many milliseconds pass.
    Pass(u64),
}

pub(super) const TOPICS: [&str; 3] = ["a", "b/c", "b/d"];

pub(super) fn topic(n: usize) -> Topic {
    Topic::parse(TOPICS[n]).unwrap()
}

pub(super) fn target() -> impl Strategy<Value = Target> {
    let id = || (0usize..4).prop_map(|n| user(&n.to_string()));
    prop_oneof![
        3 => id().prop_map(Target::User),
        2 => prop::collection::vec(id(), 0..4).prop_map(|users| Target::Users(Users::new(users))),
        2 => (0usize..TOPICS.len()).prop_map(|n| Target::Topic(topic(n))),
        2 => Just(Target::All),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let topics = || {
        let topics = prop::collection::btree_set(0usize..TOPICS.len(), 0..3);
        topics.prop_map(|topics| topics.into_iter().collect())
    };
    prop_oneof![
        8 => (target(), 0usize..300).prop_map(|(to, bytes)| Step::Publish(to, bytes)),
        3 => (0usize..4, topics(), 0usize..40)
            .prop_map(|(user, topics, nth)| Step::Join(user, topics, nth)),
        1 => (0usize..4, topics()).prop_map(|(user, topics)| Step::Come(user, topics)),
        2 => any::<usize>().prop_map(Step::Return),
        4 => (1usize..6).prop_map(Step::Take),
        3 => Just(Step::Dispatch),
        2 => (0u64..400).prop_map(Step::Pass),
    ]
}

pub(super) fn is_for(to: &Target, who: usize, topics: &[Topic]) -> bool {
    let who = who.to_string();
    match to {
        Target::All => true,
        Target::User(user) => user.as_str() == who,
        Target::Users(users) => users.as_slice().iter().any(|user| user.as_str() == who),
        Target::Topic(topic) => topics.contains(topic),
    }
}

/// Lets a client join, with or without a last id, and checks what it gets. A client with a gap gets everything
/// that is retained. One without a gap has missed no evicted event.
fn join(
    log: &Log,
    events: &[Published],
    (user, topics): (usize, Vec<Topic>),
    last: Option<(EventId, Option<usize>)>,
) -> Result<Client, TestCaseError> {
    let oldest = events.len() - log.retained().1;
    let id_before = |n: usize| n.checked_sub(1).map_or(ORIGIN, |n| events[n].id);
    let (name, id) = (user.to_string(), last.map(|(id, _)| id.to_string()));
    let joined = log.join(&JoinRequest {
        last_event_id: id.as_deref(),
        ..newcomer(&name, &topics, "")
    });
    prop_assert_eq!(joined.position, log.head());
    let Some((id, seen)) = last else {
        prop_assert_eq!(joined.id, id_before(events.len()));
        prop_assert!(joined.gap.is_none() && joined.replay.is_none());
        return Ok(Client {
            user,
            topics,
            seen: events.len(),
            position: joined.id,
            begins_with_the_oldest: false,
            replay: None,
        });
    };
    let is_mine = |event: &Published| is_for(&event.to, user, &topics);
    if joined.gap.is_none() {
        let seen = seen.expect("an unknown id is a gap");
        let missing = (seen..oldest).find(|n| is_mine(&events[*n]));
        prop_assert_eq!(missing, None, "an event was lost without a gap");
        prop_assert_eq!(joined.id, id);
    } else {
        let gap = Gap {
            oldest: events.get(oldest).map(|event| event.id),
        };
        prop_assert_eq!(joined.gap, Some(gap));
        let is_known = id == id_before(oldest) || events[oldest..].iter().any(|it| it.id == id);
        prop_assert!(!is_known, "a gap although the id is known");
        let told = if joined.replay.is_some() {
            oldest
        } else {
            events.len()
        };
        prop_assert_eq!(joined.id, id_before(told));
        // The gap is reported once.
        let id = joined.id.to_string();
        prop_assert!(log.join(&newcomer(&name, &topics, &id)).gap.is_none());
    }
    let begins_with_the_oldest = joined.gap.is_some();
    let seen = seen.filter(|_| !begins_with_the_oldest).unwrap_or(oldest);
    let some = events[seen..].iter().any(is_mine);
    prop_assert_eq!(joined.replay.is_some(), some);
    Ok(Client {
        user,
        topics,
        seen,
        position: joined.id,
        begins_with_the_oldest,
        replay: joined.replay,
    })
}

proptest! {
    /// The model is the list of all published events.
    #[test]
    fn the_log_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..120)) {
        let (max_bytes, max_age_ms) = (6_000, 1_000);
        let log = Log::new(max_bytes, Duration::from_millis(max_age_ms), ORIGIN);
        let mut events: Vec<Published> = Vec::new();
        let mut clients: Vec<Client> = Vec::new();
        let (mut now_ms, mut dispatched) = (0, 0);
        for step in steps {
            match step {
                Step::Publish(to, bytes) => {
                    let data = "d".repeat(bytes);
                    let id = append(&log, 5_000, now_ms, event(to.clone(), &data, true));
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
                    let last = events.len().checked_sub(nth + 1);
                    let id = last.map_or(EventId { ms: 0, seq: 1 }, |last| events[last].id);
                    let topics = topics.into_iter().map(topic).collect();
                    let last = Some((id, last.map(|last| last + 1)));
                    clients.push(join(&log, &events, (user, topics), last)?);
                }
                Step::Come(user, topics) => {
                    let topics = topics.into_iter().map(topic).collect();
                    clients.push(join(&log, &events, (user, topics), None)?);
                }
                Step::Return(nth) if !clients.is_empty() => {
                    let nth = nth % clients.len();
                    let Client { user, topics, seen, position, .. } = clients.swap_remove(nth);
                    let last = Some((position, Some(seen)));
                    clients.push(join(&log, &events, (user, topics), last)?);
                }
                Step::Return(_) => {}
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
                                // Only if an event after the client's last one is gone.
                                prop_assert!(oldest > client.seen);
                                client.replay = None;
                                continue;
                            }
                            Progress::CaughtUp(position) => {
                                prop_assert_eq!(position, log.head());
                                prop_assert_eq!(taken.len(), wanted.len());
                                client.replay = None;
                            }
                            // A piece may be short if the log was locked for long enough.
                            Progress::More => prop_assert!(taken.len() <= most),
                            Progress::Moved => {
                                prop_assert!(client.begins_with_the_oldest && taken.is_empty());
                                replay.confirm();
                            }
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
                            client.position = *last;
                        }
                    }
                }
            }
            // The newest events are retained, as many as age, size and dispatch allow.
            let (bytes, retained) = log.retained();
            let oldest = events.len() - retained;
            prop_assert!(oldest <= dispatched);
            let all_fits = bytes <= max_bytes || oldest == dispatched;
            prop_assert!(all_fits, "{bytes} bytes");
            if let Some(event) = events.get(oldest) {
                prop_assert!(now_ms <= event.accepted_ms + max_age_ms || oldest == dispatched);
            }
            if retained == 0 {
                prop_assert!(bytes <= max_bytes / 4, "{bytes} bytes in an empty log");
            }
        }
    }
}
