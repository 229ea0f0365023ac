use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

fn network(number: u8) -> Network {
    Network::of(Some(IpAddr::from([10, 0, 0, number])))
}

type Taking = Pin<Box<dyn Future<Output = Result<Grant, Busy>>>>;

/// A caller of [`FairQueue::enter`].
enum Client {
    Waits(Taking),
    Has { _grant: Grant },
    Gone,
}

/// A queue, and its clients in order of arrival.
struct World {
    queue: FairQueue,
    reputation: Reputation,
    clients: Vec<(u8, Client)>,
}

impl World {
    fn new(at_once: usize, at_once_each: usize, waiting: usize) -> Self {
        let limits = QueueLimits {
            at_once,
            at_once_each,
            waiting,
            waiting_suspect: 2,
        };
        Self {
            queue: FairQueue::new(limits),
            reputation: Reputation::Good,
            clients: Vec::new(),
        }
    }

    fn enter(&mut self, from: u8) -> usize {
        let (queue, reputation) = (self.queue.clone(), self.reputation);
        let taking: Taking = Box::pin(async move { queue.enter(network(from), reputation).await });
        self.clients.push((from, Client::Waits(taking)));
        self.look();
        self.clients.len() - 1
    }

    fn leave(&mut self, client: usize) {
        self.clients[client].1 = Client::Gone;
        self.look();
    }

    fn look(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        // Twice: the newest client may make an older one give way.
        for place in (0..self.clients.len()).chain(0..self.clients.len()) {
            let (_, client) = &mut self.clients[place];
            if let Client::Waits(taking) = client {
                match taking.as_mut().poll(&mut context) {
                    Poll::Ready(Ok(grant)) => *client = Client::Has { _grant: grant },
                    Poll::Ready(Err(Busy)) => *client = Client::Gone,
                    Poll::Pending => {}
                }
            }
        }
    }

    fn has_grant(&self, client: usize) -> bool {
        matches!(self.clients[client].1, Client::Has { .. })
    }

    fn with_grant(&self) -> Vec<usize> {
        (0..self.clients.len())
            .filter(|client| self.has_grant(*client))
            .collect()
    }

    fn waiting(&self) -> Vec<usize> {
        let waits = |client: &usize| matches!(self.clients[*client].1, Client::Waits(_));
        (0..self.clients.len()).filter(waits).collect()
    }
}

#[test]
fn a_flood_from_one_address_delays_another_by_one_grant() {
    let mut world = World::new(1, 1, 1_000);
    for _ in 0..500 {
        world.enter(1);
    }
    let honest = world.enter(2);
    for _ in 0..2 {
        let busy = world.with_grant();
        assert_eq!(busy.len(), 1);
        if busy == [honest] {
            return;
        }
        world.leave(busy[0]);
    }
    assert!(world.has_grant(honest));
}

#[test]
fn within_an_address_the_oldest_is_first_and_none_is_rejected() {
    let mut world = World::new(1, 1, 10);
    let clients: Vec<usize> = (0..5).map(|_| world.enter(1)).collect();
    for client in clients {
        assert_eq!(world.with_grant(), [client]);
        world.leave(client);
    }
}

#[test]
fn at_a_suspect_address_the_newest_is_first_and_few_wait() {
    let mut world = World::new(1, 1, 10);
    world.reputation = Reputation::Suspect;
    let clients: Vec<usize> = (0..5).map(|_| world.enter(1)).collect();
    assert_eq!(world.waiting(), clients[3..]);
    for client in [clients[0], clients[4], clients[3]] {
        assert_eq!(world.with_grant(), [client]);
        world.leave(client);
    }
}

#[test]
fn one_address_never_has_all_grants() {
    let mut world = World::new(4, 2, 100);
    for _ in 0..10 {
        world.enter(1);
    }
    assert_eq!(world.with_grant(), [0, 1]);
    let other = world.enter(2);
    assert!(world.has_grant(other));
}

#[test]
fn when_too_many_wait_the_busiest_address_gives_way() {
    let mut world = World::new(1, 1, 3);
    world.enter(1);
    let [first, second] = [world.enter(1), world.enter(1)];
    let other = world.enter(2);
    assert_eq!(world.waiting(), [first, second, other]);
    let another = world.enter(2);
    // Both addresses wait equally. The oldest client of one of them gave way.
    assert_eq!(world.waiting().len(), 3);
    assert!(world.waiting().contains(&another));
    assert!(world.waiting().contains(&second));
}

#[test]
fn an_ipv6_network_is_one_address_and_a_mapped_one_is_itself() {
    let of = |text: &str| Network::of(Some(text.parse::<IpAddr>().unwrap()));
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8),
    EnterSuspect(u8),
    Leave(prop::sample::Index),
}

proptest! {
    #[test]
    fn no_grant_is_lost_or_withheld(
        steps in prop::collection::vec(prop_oneof![
            (0..4_u8).prop_map(Step::Enter),
            (0..4_u8).prop_map(Step::EnterSuspect),
            any::<prop::sample::Index>().prop_map(Step::Leave),
        ], 0..120),
        at_once in 1..5_usize, each in 1..4_usize, most_waiting in 1..8_usize,
    ) {
        let mut world = World::new(at_once, each, most_waiting);
        for step in steps {
            match step {
                Step::Enter(from) => {
                    world.reputation = Reputation::Good;
                    world.enter(from);
                }
                Step::EnterSuspect(from) => {
                    world.reputation = Reputation::Suspect;
                    world.enter(from);
                }
                Step::Leave(index) if !world.clients.is_empty() => {
                    world.leave(index.index(world.clients.len()));
                }
                Step::Leave(_) => {}
            }
            let from = |client: &usize| world.clients[*client].0;
            let (busy, waiting) = (world.with_grant(), world.waiting());
            prop_assert!(busy.len() <= at_once && waiting.len() <= most_waiting);
            let has = |network: u8| busy.iter().filter(|client| from(client) == network).count();
            for network in 0..4 {
                prop_assert!(has(network) <= each);
            }
            // A client waits only if no grant is free, or its address holds its limit.
            for client in &waiting {
                prop_assert!(busy.len() == at_once || has(from(client)) == each);
            }
            let state = world.queue.0.lock();
            prop_assert_eq!((state.granted, state.waiting), (busy.len(), waiting.len()));
            prop_assert!(state.queues.values().all(|queue| queue.granted + queue.waiting.len() > 0));
            let queues = state.queues.values().filter(|queue| !queue.waiting.is_empty()).count();
            prop_assert_eq!(state.rotation.len(), queues);
        }
    }
}
