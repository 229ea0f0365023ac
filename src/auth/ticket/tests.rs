use proptest::prelude::*;

use super::*;
use crate::auth::IssuedAt;

const TTL: Duration = Duration::from_secs(30);

fn identity(user: &str) -> Identity {
    Identity {
        user: user.into(),
        session: None,
        issued: None,
        expires_at: 2_000_000_000,
        topics: Box::default(),
    }
}

fn with_topics(user: &str, topics: &[String]) -> Identity {
    Identity {
        topics: topics
            .iter()
            .map(|topic| TopicPattern::parse(topic).unwrap())
            .collect(),
        ..identity(user)
    }
}

fn user(identity: Option<Identity>) -> Option<CompactString> {
    identity.map(|identity| identity.user)
}

fn counts(tickets: &Tickets) -> [usize; 3] {
    let table = tickets.table.lock();
    [table.tickets.len(), table.by_user.len(), table.bytes]
}

#[test]
fn a_ticket_works_once() {
    let tickets = Tickets::new(Clock::manual(0));
    let ticket = tickets.issue(identity("42"), TTL);
    assert_eq!(ticket.len(), 43);
    assert_eq!(user(tickets.look(&ticket)), Some("42".into()));
    assert_eq!(user(tickets.redeem(&ticket)), Some("42".into()));
    assert!(tickets.look(&ticket).is_none());
    assert!(tickets.redeem(&ticket).is_none());
    assert!(tickets.redeem("unknown").is_none());
    assert!(tickets.redeem("").is_none());
}

#[test]
fn a_ticket_stands_for_all_of_an_identity() {
    let tickets = Tickets::new(Clock::manual(0));
    let topics = ["a/*".to_owned(), "b c".to_owned(), "**".to_owned()];
    let identity = Identity {
        session: Some("s".into()),
        issued: Some(Issued::Token(IssuedAt::from_unix_ms(5))),
        expires_at: 7,
        ..with_topics(&"user".repeat(20), &topics)
    };
    let ticket = tickets.issue(identity.clone(), TTL);
    let redeemed = tickets.redeem(&ticket).unwrap();
    assert_eq!(format!("{redeemed:?}"), format!("{identity:?}"));
    assert_eq!(counts(&tickets), [0; 3]);
}

#[test]
fn a_ticket_works_until_its_time_and_not_at_it() {
    let clock = Clock::manual(0);
    let tickets = Tickets::new(clock.clone());
    let early = tickets.issue(identity("42"), TTL);
    let late = tickets.issue(identity("42"), TTL);
    clock.advance(Duration::from_millis(29_999));
    assert!(tickets.redeem(&early).is_some());
    clock.advance(Duration::from_millis(1));
    assert!(tickets.redeem(&late).is_none());
}

#[test]
fn a_user_who_asks_too_often_loses_the_oldest_ticket() {
    let tickets = Tickets::new(Clock::manual(0));
    let other = tickets.issue(identity("other"), TTL);
    let own: Vec<_> = (0..=MAX_TICKETS_PER_USER)
        .map(|_| tickets.issue(identity("42"), TTL))
        .collect();
    assert!(tickets.redeem(&own[0]).is_none());
    assert!(
        own[1..]
            .iter()
            .all(|ticket| tickets.redeem(ticket).is_some())
    );
    assert!(tickets.redeem(&other).is_some());
}

/// As many topics as a token of 8 KiB carries.
fn many_topics() -> Vec<String> {
    (0..250).map(|n| format!("topic/of/a/name/{n}")).collect()
}

#[test]
fn a_user_with_many_topics_holds_few_tickets() {
    let tickets = Tickets::new(Clock::manual(0));
    let other = tickets.issue(identity("other"), TTL);
    for _ in 0..1_000 {
        tickets.issue(with_topics("42", &many_topics()), TTL);
    }
    let one = TICKET_BYTES + 6_000;
    assert!(
        tickets.bytes() <= MAX_BYTES_PER_USER + one,
        "{}",
        tickets.bytes()
    );
    assert!(tickets.redeem(&other).is_some());
}

#[test]
fn in_a_full_table_the_oldest_tickets_give_way() {
    let tickets = Tickets::with_bytes(Clock::manual(0), 10 * TICKET_BYTES);
    let issued: Vec<String> = (0..13)
        .map(|n| tickets.issue(identity(&n.to_string()), TTL))
        .collect();
    assert_eq!(counts(&tickets), [10, 10, 10 * TICKET_BYTES]);
    let redeemed: Vec<bool> = issued
        .iter()
        .map(|ticket| tickets.redeem(ticket).is_some())
        .collect();
    assert_eq!(redeemed[..3], [false; 3]);
    assert_eq!(redeemed[3..], [true; 10]);
}

#[test]
fn what_ran_out_is_swept_though_nobody_asks_for_more() {
    let clock = Clock::manual(0);
    let tickets = Tickets::new(clock.clone());
    for n in 0..2_000 {
        tickets.issue(with_topics(&n.to_string(), &many_topics()), TTL);
    }
    tickets.sweep();
    assert_eq!(counts(&tickets)[0], 2_000);
    clock.advance(TTL);
    tickets.sweep();
    assert_eq!(counts(&tickets), [0; 3]);
}

#[test]
fn one_sweep_does_a_bounded_amount_of_work() {
    let clock = Clock::manual(0);
    let tickets = Tickets::new(clock.clone());
    for n in 0..=2 * DROPPED_PER_SWEEP {
        tickets.issue(identity(&n.to_string()), TTL);
    }
    clock.advance(TTL);
    for left in [DROPPED_PER_SWEEP + 1, 1, 0] {
        tickets.sweep();
        assert_eq!(counts(&tickets)[0], left);
    }
    assert_eq!(tickets.bytes(), 0);
}

#[test]
fn the_table_never_holds_a_usable_ticket() {
    let tickets = Tickets::new(Clock::manual(0));
    let ticket = tickets.issue(identity("42"), TTL);
    assert!(!format!("{tickets:?}").contains(&ticket));
}

#[derive(Clone, Debug)]
enum Step {
    Issue {
        user: u8,
        topic_bytes: usize,
        ttl_ms: u64,
    },
    Redeem(prop::sample::Index),
    Advance(u64),
    Sweep {
        most: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let topic_bytes = prop_oneof![3 => Just(0_usize), 1 => 1..200_usize];
    prop_oneof![
        6 => (0..3_u8, topic_bytes, 0..500_u64)
            .prop_map(|(user, topic_bytes, ttl_ms)| Step::Issue { user, topic_bytes, ttl_ms }),
        2 => any::<prop::sample::Index>().prop_map(Step::Redeem),
        1 => (0..200_u64).prop_map(Step::Advance),
        1 => (0..10_usize).prop_map(|most| Step::Sweep { most }),
    ]
}

/// A ticket, as simply as possible.
struct Model {
    ticket: String,
    user: u8,
    expires_ms: u64,
    bytes: usize,
    is_held: bool,
}

/// The one that runs out first, of those held that `is_meant`.
fn first(all: &mut [Model], is_meant: impl Fn(&Model) -> bool) -> Option<&mut Model> {
    let held = all.iter_mut().filter(|one| one.is_held && is_meant(one));
    held.min_by_key(|one| one.expires_ms)
}

proptest! {
    #[test]
    fn tickets_behave_as_their_description(steps in prop::collection::vec(step(), 0..300)) {
        const BYTES: usize = 60 * TICKET_BYTES;
        let clock = Clock::manual(0);
        let tickets = Tickets::with_bytes(clock.clone(), BYTES);
        let mut all: Vec<Model> = Vec::new();
        for step in steps {
            let now_ms = clock.now_ms();
            match step {
                Step::Advance(ms) => clock.advance(Duration::from_millis(ms)),
                Step::Sweep { most } => {
                    tickets.sweep_up_to(most);
                    for _ in 0..most {
                        if let Some(late) = first(&mut all, |one| one.expires_ms <= now_ms) {
                            late.is_held = false;
                        }
                    }
                }
                Step::Issue { user, topic_bytes, ttl_ms } => {
                    let topics: Vec<String> = (topic_bytes > 0)
                        .then(|| "t".repeat(topic_bytes))
                        .into_iter()
                        .collect();
                    let ttl = Duration::from_millis(ttl_ms);
                    let identity = with_topics(&user.to_string(), &topics);
                    let ticket = tickets.issue(identity, ttl);
                    for _ in 0..DROPPED_PER_ISSUE {
                        if let Some(late) = first(&mut all, |one| one.expires_ms <= now_ms) {
                            late.is_held = false;
                        }
                    }
                    let bytes = TICKET_BYTES
                        + if topic_bytes > 0 { topic_bytes + ALLOCATION_BYTES } else { 0 };
                    let held = |all: &[Model], user: Option<u8>| -> (usize, usize) {
                        let held = all.iter().filter(|one| {
                            one.is_held && user.is_none_or(|user| one.user == user)
                        });
                        held.fold((0, 0), |(count, sum), one| (count + 1, sum + one.bytes))
                    };
                    loop {
                        let (count, sum) = held(&all, Some(user));
                        if count < MAX_TICKETS_PER_USER && sum + bytes <= MAX_BYTES_PER_USER {
                            break;
                        }
                        first(&mut all, |one| one.user == user).unwrap().is_held = false;
                    }
                    while held(&all, None).1 + bytes > BYTES {
                        first(&mut all, |_| true).unwrap().is_held = false;
                    }
                    let expires_ms = now_ms + ttl_ms;
                    all.push(Model { ticket, user, expires_ms, bytes, is_held: true });
                }
                Step::Redeem(index) if !all.is_empty() => {
                    let index = index.index(all.len());
                    let one = &mut all[index];
                    let expected = (one.is_held && now_ms < one.expires_ms)
                        .then(|| one.user.to_string().into());
                    prop_assert_eq!(user(tickets.redeem(&one.ticket)), expected);
                    one.is_held = false;
                }
                Step::Redeem(_) => {}
            }
            let held: Vec<&Model> = all.iter().filter(|one| one.is_held).collect();
            let bytes = held.iter().map(|one| one.bytes).sum();
            prop_assert!(bytes <= BYTES);
            prop_assert_eq!(counts(&tickets), [held.len(), held.len(), bytes]);
        }
    }
}
