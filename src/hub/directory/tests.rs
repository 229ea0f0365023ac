use super::*;
use crate::auth::{Issued, IssuedAt};
use crate::config::OnLimit;
use crate::event::UserId;
use proptest::prelude::*;
use std::collections::HashMap;

const LIMIT: Limit = Limit {
    connections: 5,
    on_limit: OnLimit::Reject,
};

fn identity(user: &str, session: Option<&str>, issued: Option<IssuedAt>) -> Identity {
    Identity {
        user: user.into(),
        session: session.map(Into::into),
        issued: issued.map(Issued::Token),
        expires_at: u64::MAX,
        topics: Box::default(),
    }
}

fn at(key: u32) -> ConnectionId {
    ConnectionId::new(0, key, 7)
}

fn change(user: &str, keep: Option<&str>, at_unix_ms: u64) -> SessionChange {
    SessionChange {
        user: UserId::new(user).unwrap(),
        keep: keep.map(Into::into),
        at_unix_ms,
    }
}

fn change_session(
    directory: &Directory,
    user: &str,
    keep: Option<&str>,
    at_unix_ms: u64,
) -> Vec<ConnectionId> {
    let change = change(user, keep, at_unix_ms);
    directory.change_session(&change, at_unix_ms, Position(1))
}

fn admit(directory: &Directory, identity: &Identity, key: u32) -> Result<UserHandle, Rejection> {
    directory
        .admit(identity, at(key), LIMIT, |_| ())
        .map(|(admitted, ())| admitted.user)
}

const EVICT: Limit = Limit {
    connections: 2,
    on_limit: OnLimit::EvictOldest,
};

#[test]
fn the_oldest_is_evicted_whatever_the_order_in_which_streams_came_from_another_process() {
    let directory = Directory::default();
    // The oldest of each shard first, and one of them younger than the other shard's.
    for (key, since_s) in [(0, 20), (1, 40), (2, 10), (3, 20), (4, 30)] {
        directory.adopt("42", None, at(key), since_s).unwrap();
    }
    let user = identity("42", None, None);
    let five = Limit {
        connections: 5,
        ..EVICT
    };
    for (newest, oldest) in [(10, 2), (11, 0), (12, 3), (13, 4), (14, 1), (15, 10)] {
        let (admitted, ()) = directory.admit(&user, at(newest), five, |_| ()).unwrap();
        assert_eq!(admitted.evicted, [at(oldest)]);
    }
    // One that comes late is older than those that began here.
    directory.adopt("42", None, at(20), 50).unwrap();
    let mut held = Vec::new();
    directory.connections("42", |connection| held.push(connection));
    assert_eq!(held, [20, 11, 12, 13, 14, 15].map(at));
}

#[test]
fn an_adopted_connection_that_is_too_many_ends_itself_or_the_oldest() {
    let directory = Directory::default();
    let adopt = |key, since_s| directory.adopt("42", None, at(key), since_s).unwrap();
    let user = adopt(0, 10);
    adopt(1, 20);
    assert!(directory.end_excess(user, at(1), EVICT).is_empty());
    adopt(2, 30);
    assert_eq!(directory.end_excess(user, at(2), EVICT), [at(0)]);
    assert!(directory.end_excess(user, at(2), EVICT).is_empty());
    adopt(3, 40);
    let refuse = Limit {
        on_limit: OnLimit::Reject,
        ..EVICT
    };
    // Another one that is too many does not matter to a connection that has gone.
    assert!(directory.end_excess(user, at(0), refuse).is_empty());
    assert_eq!(directory.end_excess(user, at(3), refuse), [at(3)]);
    let mut held = Vec::new();
    directory.connections("42", |connection| held.push(connection));
    assert_eq!(held, [at(1), at(2)]);
}

#[test]
fn a_sixth_connection_is_refused_and_a_freed_place_can_be_taken() {
    let directory = Directory::default();
    let user = identity("42", None, None);
    let handle = admit(&directory, &user, 0).unwrap();
    for key in 1..5 {
        admit(&directory, &user, key).unwrap();
    }
    assert_eq!(admit(&directory, &user, 5), Err(Rejection::Limit));
    assert!(directory.remove(handle, at(3), &|_| ()));
    assert!(!directory.remove(handle, at(3), &|_| ()));
    assert!(admit(&directory, &user, 5).is_ok());
}

#[test]
fn the_oldest_connection_is_evicted_if_that_is_the_policy() {
    let directory = Directory::default();
    let limit = Limit {
        connections: 1,
        on_limit: OnLimit::EvictOldest,
    };
    let user = identity("42", None, None);
    for key in 0..3 {
        let (admitted, ()) = directory.admit(&user, at(key), limit, |_| ()).unwrap();
        assert_eq!(admitted.evicted, Vec::from_iter(key.checked_sub(1).map(at)));
    }
    assert_eq!(directory.users_online(), 1);
}

#[test]
fn a_lowered_limit_evicts_until_the_new_one_fits() {
    let directory = Directory::default();
    let user = identity("42", None, None);
    for key in 0..4 {
        admit(&directory, &user, key).unwrap();
    }
    let lowered = Limit {
        connections: 2,
        on_limit: OnLimit::EvictOldest,
    };
    let (admitted, ()) = directory.admit(&user, at(9), lowered, |_| ()).unwrap();
    assert_eq!(admitted.evicted, [at(0), at(1), at(2)]);
}

#[test]
fn other_sessions_are_ended_and_refused_from_then_on() {
    let directory = Directory::default();
    let (old, new) = (
        identity("1", Some("a"), None),
        identity("1", Some("b"), None),
    );
    let nameless = identity("1", None, Some(IssuedAt::from_unix_ms(100_000)));
    admit(&directory, &old, 0).unwrap();
    admit(&directory, &nameless, 1).unwrap();
    admit(&directory, &new, 2).unwrap();
    let ended = change_session(&directory, "1", Some("b"), 200_000);
    assert_eq!(ended, [at(0), at(1)]);
    assert_eq!(admit(&directory, &old, 3), Err(Rejection::Revoked));
    assert_eq!(admit(&directory, &nameless, 3), Err(Rejection::Revoked));
    assert!(admit(&directory, &new, 3).is_ok());
    let later = identity("1", None, Some(IssuedAt::from_unix_ms(201_000)));
    assert!(admit(&directory, &later, 4).is_ok());
}

#[test]
fn a_log_out_refuses_every_token_issued_until_then() {
    let directory = Directory::default();
    let issued = |session, unix_ms| identity("1", session, Some(IssuedAt::from_unix_ms(unix_ms)));
    change_session(&directory, "1", Some("a"), 100_000);
    change_session(&directory, "1", None, 200_500);
    for refused in [
        issued(Some("a"), 150_000),
        issued(Some("c"), 150_000),
        issued(None, 200_000),
        issued(None, 200_499),
        identity("1", Some("a"), None),
    ] {
        assert!(!directory.allows(&refused), "{refused:?}");
    }
    for allowed in [issued(Some("b"), 200_501), issued(None, 201_000)] {
        assert!(directory.allows(&allowed), "{allowed:?}");
    }
}

#[test]
fn naming_the_current_session_again_ends_no_connection() {
    let directory = Directory::default();
    let issued = |session, unix_ms| identity("1", session, Some(IssuedAt::from_unix_ms(unix_ms)));
    change_session(&directory, "1", Some("a"), 100_000);
    let (named, nameless) = (issued(Some("a"), 50_000), issued(None, 150_000));
    admit(&directory, &named, 0).unwrap();
    admit(&directory, &nameless, 1).unwrap();
    assert!(directory.is_current("1", "a"));
    assert_eq!(change_session(&directory, "1", Some("a"), 200_000), []);
    assert!(directory.allows(&named) && directory.allows(&nameless));
    assert_eq!(
        change_session(&directory, "1", Some("b"), 300_000),
        [at(0), at(1)]
    );
    assert!(!directory.is_current("1", "a"));
    assert_eq!(directory.users_online(), 0);
}

#[test]
fn users_whose_last_change_was_a_log_out_cost_nothing_once_no_token_is_left() {
    const USERS: u64 = 20_000;
    const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
    let directory = Directory::default();
    // One of them stays online, and another one has a session. Neither keeps the others in memory.
    admit(&directory, &identity("0", None, None), 0).unwrap();
    change_session(&directory, "1", Some("a"), 1_000);
    for user in 0..USERS {
        change_session(&directory, &user.to_string(), None, 1_000 + user);
    }
    change_session(&directory, "1", Some("b"), 1_000 + USERS);
    let remembered = || -> usize {
        let stripes = directory.stripes.iter();
        stripes.map(|stripe| stripe.lock().standings.len()).sum()
    };
    let everybody = usize::try_from(USERS).unwrap();
    let sweep = |unix_ms| {
        // Often enough to look at all of them twice.
        for _ in 0..2 * (everybody / MAX_SWEPT + 1) {
            directory.sweep(unix_ms);
        }
    };
    // Tokens state their time of issue in whole seconds.
    let month_ms = MONTH_MS + 2 * directory.rules().leeway_ms + 1_000;
    sweep(1_000 + month_ms);
    assert_eq!(remembered(), everybody);
    // Users are forgotten one after the other.
    sweep(1_000 + USERS / 2 + month_ms);
    assert_eq!(remembered(), everybody / 2 + 1);
    sweep(1_000 + USERS + month_ms);
    assert_eq!(remembered(), 1);
    assert!(directory.is_current("1", "b"));
    assert!(directory.allows(&identity("2", None, None)));
}

#[test]
fn a_log_out_of_all_reaches_everyone_piece_by_piece() {
    let directory = Directory::default();
    // More users per stripe than are logged out in one step.
    let users = 3 * STRIPES * MAX_SWEPT_LOCKED / 2;
    for user in 0..users {
        change_session(&directory, &user.to_string(), Some("a"), 1_000);
    }
    let is_let_in = |user: usize, issued_ms| {
        let user = user.to_string();
        directory.allows(&identity(
            &user,
            Some("a"),
            Some(IssuedAt::from_unix_ms(issued_ms)),
        ))
    };
    assert!((0..users).all(|user| is_let_in(user, 5_000)));
    directory.log_out_all(5_000);
    // Users without a known change are logged out as well.
    assert!((0..=users).all(|user| !is_let_in(user, 5_000) && is_let_in(user, 5_001)));
}

proptest! {
    /// Whatever the clock does, an answer is good exactly until the user's next change.
    #[test]
    fn an_answer_of_the_application_holds_until_the_next_change_of_its_user(
        everyone_ms in prop_oneof![Just(0), 0..1_000_000_u64],
        steps in prop::collection::vec((0..3_u8, prop::option::of((0..4_u8, 0..1_000_000_u64))), 1..40),
    ) {
        let directory = Directory::default();
        directory.log_everyone_out(everyone_ms);
        let (mut head, mut answers) = (Position(0), Vec::new());
        for (user, step) in steps {
            let name = user.to_string();
            match step {
                None => {
                    let issued = Some(Issued::Answer(head));
                    answers.push((user, Identity { issued, ..identity(&name, None, None) }));
                }
                Some((session, at_unix_ms)) => {
                    head.0 += 1;
                    // Each change names a new session, or it is a log-out.
                    let keep = (session > 0).then(|| format!("{session} {}", head.0));
                    let change = change(&name, keep.as_deref(), at_unix_ms);
                    directory.change_session(&change, at_unix_ms.max(head.0), head);
                    answers.retain(|(other, identity)| {
                        let is_good = directory.allows(identity);
                        assert_eq!(is_good, *other != user);
                        assert_eq!(directory.would_admit(identity, LIMIT).is_ok(), is_good);
                        is_good
                    });
                }
            }
            prop_assert!(answers.iter().all(|(_, identity)| directory.allows(identity)));
        }
    }
}

#[test]
fn one_sweep_does_a_bounded_amount_of_work() {
    let directory = Directory::default();
    let users = 2 * MAX_SWEPT;
    for user in 0..users {
        change_session(&directory, &user.to_string(), None, 1_000);
    }
    directory.sweep(u64::MAX);
    let stripes = directory.stripes.iter();
    let left: usize = stripes.map(|stripe| stripe.lock().standings.len()).sum();
    assert!((users - MAX_SWEPT..users).contains(&left), "{left} left");
}

#[test]
fn a_user_without_connections_or_session_is_forgotten() {
    let directory = Directory::default();
    let handle = admit(&directory, &identity("1", None, None), 0).unwrap();
    assert!(directory.remove(handle, at(0), &|_| ()));
    assert_eq!(
        admit(&directory, &identity("2", None, None), 0).map(|_| ()),
        Ok(())
    );
    let users: usize = directory
        .stripes
        .iter()
        .map(|stripe| stripe.lock().users.len())
        .sum();
    assert_eq!(users, 1);
}

#[test]
fn of_two_hundred_connects_at_once_five_stay() {
    for on_limit in [OnLimit::Reject, OnLimit::EvictOldest] {
        let directory = Directory::default();
        let limit = Limit {
            connections: 5,
            on_limit,
        };
        let user = identity("1", None, None);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (directory, user) = (&directory, &user);
                scope.spawn(move || {
                    for key in 0..25 {
                        let _ = directory.admit(user, at(thread * 25 + key), limit, |_| ());
                    }
                });
            }
        });
        let mut left = 0;
        directory.connections("1", |_| left += 1);
        assert_eq!(left, 5, "{on_limit:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit { user: u8, session: u8, evict: bool },
    Remove { nth: usize },
    Change { user: u8, keep: u8 },
    Disconnect { user: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, 0..3u8, any::<bool>())
            .prop_map(|(user, session, evict)| Step::Admit { user, session, evict }),
        2 => any::<usize>().prop_map(|nth| Step::Remove { nth }),
        1 => (0..4u8, 0..3u8).prop_map(|(user, keep)| Step::Change { user, keep }),
        1 => (0..4u8).prop_map(|user| Step::Disconnect { user }),
    ]
}

fn session(number: u8) -> Option<&'static str> {
    [None, Some("a"), Some("b")][usize::from(number)]
}

proptest! {
    /// The model keeps a list of (user, session, key) and each user's current session. Tokens here carry no
    /// `iat`, so after a change only the named current session is admitted.
    #[test]
    fn the_directory_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..120)) {
        let directory = Directory::default();
        let mut connected: Vec<(u8, Option<&str>, u32, UserHandle)> = Vec::new();
        let mut current: HashMap<u8, Option<&str>> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let key = u32::try_from(number).unwrap();
            match step {
                Step::Admit { user, session: named, evict } => {
                    let on_limit = if evict { OnLimit::EvictOldest } else { OnLimit::Reject };
                    let limit = Limit { connections: 3, on_limit };
                    let identity = identity(&user.to_string(), session(named), None);
                    let allowed = match current.get(&user) {
                        None => true,
                        Some(Some(keep)) => session(named) == Some(*keep),
                        Some(None) => false,
                    };
                    let held = connected.iter().filter(|c| c.0 == user).count();
                    match directory.admit(&identity, at(key), limit, |_| ()) {
                        Ok((admitted, ())) => {
                            prop_assert!(allowed && (held < 3 || evict));
                            let oldest = connected.iter().position(|c| c.0 == user);
                            let evicted = oldest.filter(|_| held == 3)
                                .map(|oldest| at(connected.remove(oldest).2));
                            prop_assert_eq!(admitted.evicted, Vec::from_iter(evicted));
                            connected.push((user, session(named), key, admitted.user));
                        }
                        Err(Rejection::Revoked) => prop_assert!(!allowed),
                        Err(Rejection::Limit) => prop_assert!(allowed && held == 3 && !evict),
                        Err(Rejection::Full | Rejection::Draining | Rejection::Stale) => prop_assert!(false),
                    }
                }
                Step::Remove { nth } => {
                    if !connected.is_empty() {
                        let (_, _, key, handle) = connected.remove(nth % connected.len());
                        prop_assert!(directory.remove(handle, at(key), &|_| ()));
                        prop_assert!(!directory.remove(handle, at(key), &|_| ()));
                    }
                }
                Step::Change { user, keep } => {
                    let keep = session(keep);
                    let ended = change_session(&directory, &user.to_string(), keep, 1_000);
                    let is_again = keep.is_some() && current.get(&user) == Some(&keep);
                    let leaves = |c: &(u8, Option<&str>, u32, UserHandle)| {
                        c.0 == user && !is_again && (keep.is_none() || c.1 != keep)
                    };
                    let expected: Vec<_> = connected.iter().filter(|c| leaves(c)).map(|c| at(c.2)).collect();
                    connected.retain(|c| !leaves(c));
                    prop_assert_eq!(ended, expected);
                    // A session that is named again after a log-out needs tokens with a later `iat`; these have
                    // none.
                    let revived = keep.is_some() && directory
                        .allows(&identity(&user.to_string(), keep, None));
                    current.insert(user, keep.filter(|_| revived));
                }
                Step::Disconnect { user } => {
                    let ended = directory.disconnect_user(&user.to_string());
                    prop_assert_eq!(ended.len(), connected.iter().filter(|c| c.0 == user).count());
                    connected.retain(|c| c.0 != user);
                }
            }
            for user in 0..4u8 {
                let mut keys = Vec::new();
                directory.connections(&user.to_string(), |c| keys.push(c.key()));
                let expected: Vec<_> = connected.iter().filter(|c| c.0 == user).map(|c| c.2).collect();
                prop_assert_eq!(keys, expected);
            }
            let online = (0..4u8).filter(|user| connected.iter().any(|c| c.0 == *user)).count();
            prop_assert_eq!(directory.users_online(), online);
        }
    }
}
