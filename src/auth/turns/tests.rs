use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

fn network(number: u8) -> Network {
    Network::of(Some(IpAddr::from([10, 0, 0, number])))
}

type Taking = Pin<Box<dyn Future<Output = Result<Turn, Busy>>>>;

/// What has become of somebody who wants a turn.
enum Client {
    Waits(Taking),
    Has { _turn: Turn },
    Gone,
}

/// Clients in the order they came.
struct World {
    turns: Turns,
    repute: Repute,
    clients: Vec<(u8, Client)>,
}

impl World {
    fn new(at_once: usize, at_once_each: usize, waiting: usize) -> Self {
        let bounds = Bounds {
            at_once,
            at_once_each,
            waiting,
            waiting_suspect: 2,
        };
        Self {
            turns: Turns::new(bounds),
            repute: Repute::Good,
            clients: Vec::new(),
        }
    }

    fn come(&mut self, from: u8) -> usize {
        let (turns, repute) = (self.turns.clone(), self.repute);
        let taking: Taking = Box::pin(async move { turns.take(network(from), repute).await });
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
        // Twice: one that comes last may make one before it give way.
        for place in (0..self.clients.len()).chain(0..self.clients.len()) {
            let (_, client) = &mut self.clients[place];
            if let Client::Waits(taking) = client {
                match taking.as_mut().poll(&mut context) {
                    Poll::Ready(Ok(turn)) => *client = Client::Has { _turn: turn },
                    Poll::Ready(Err(Busy)) => *client = Client::Gone,
                    Poll::Pending => {}
                }
            }
        }
    }

    fn has_turn(&self, client: usize) -> bool {
        matches!(self.clients[client].1, Client::Has { .. })
    }

    fn with_turn(&self) -> Vec<usize> {
        (0..self.clients.len())
            .filter(|client| self.has_turn(*client))
            .collect()
    }

    fn waiting(&self) -> Vec<usize> {
        let waits = |client: &usize| matches!(self.clients[*client].1, Client::Waits(_));
        (0..self.clients.len()).filter(waits).collect()
    }
}

#[test]
fn a_flood_from_one_address_costs_another_one_turn() {
    let mut world = World::new(1, 1, 1_000);
    for _ in 0..500 {
        world.come(1);
    }
    let honest = world.come(2);
    for _ in 0..2 {
        let busy = world.with_turn();
        assert_eq!(busy.len(), 1);
        if busy == [honest] {
            return;
        }
        world.leave(busy[0]);
    }
    assert!(world.has_turn(honest));
}

#[test]
fn within_an_address_the_oldest_goes_first_and_nobody_is_turned_away() {
    let mut world = World::new(1, 1, 10);
    let clients: Vec<usize> = (0..5).map(|_| world.come(1)).collect();
    for client in clients {
        assert_eq!(world.with_turn(), [client]);
        world.leave(client);
    }
}

#[test]
fn at_a_suspect_address_the_newest_goes_first_and_few_wait() {
    let mut world = World::new(1, 1, 10);
    world.repute = Repute::Suspect;
    let clients: Vec<usize> = (0..5).map(|_| world.come(1)).collect();
    assert_eq!(world.waiting(), clients[3..]);
    for client in [clients[0], clients[4], clients[3]] {
        assert_eq!(world.with_turn(), [client]);
        world.leave(client);
    }
}

#[test]
fn one_address_never_has_all_turns() {
    let mut world = World::new(4, 2, 100);
    for _ in 0..10 {
        world.come(1);
    }
    assert_eq!(world.with_turn(), [0, 1]);
    let other = world.come(2);
    assert!(world.has_turn(other));
}

#[test]
fn when_too_many_wait_the_busiest_address_gives_way() {
    let mut world = World::new(1, 1, 3);
    world.come(1);
    let [first, second] = [world.come(1), world.come(1)];
    let other = world.come(2);
    assert_eq!(world.waiting(), [first, second, other]);
    let another = world.come(2);
    // Both wait for as much; whichever gave way, it was its oldest.
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
    Come(u8),
    ComeSuspect(u8),
    Leave(prop::sample::Index),
}

proptest! {
    #[test]
    fn no_turn_is_lost_and_none_is_kept_from_who_may_have_it(
        steps in prop::collection::vec(prop_oneof![
            (0..4_u8).prop_map(Step::Come),
            (0..4_u8).prop_map(Step::ComeSuspect),
            any::<prop::sample::Index>().prop_map(Step::Leave),
        ], 0..120),
        at_once in 1..5_usize, each in 1..4_usize, most_waiting in 1..8_usize,
    ) {
        let mut world = World::new(at_once, each, most_waiting);
        for step in steps {
            match step {
                Step::Come(from) => {
                    world.repute = Repute::Good;
                    world.come(from);
                }
                Step::ComeSuspect(from) => {
                    world.repute = Repute::Suspect;
                    world.come(from);
                }
                Step::Leave(index) if !world.clients.is_empty() => {
                    world.leave(index.index(world.clients.len()));
                }
                Step::Leave(_) => {}
            }
            let from = |client: &usize| world.clients[*client].0;
            let (busy, waiting) = (world.with_turn(), world.waiting());
            prop_assert!(busy.len() <= at_once && waiting.len() <= most_waiting);
            let has = |network: u8| busy.iter().filter(|client| from(client) == network).count();
            for network in 0..4 {
                prop_assert!(has(network) <= each);
            }
            // Whoever waits does so because no turn is free, or its address has all it may have.
            for client in &waiting {
                prop_assert!(busy.len() == at_once || has(from(client)) == each);
            }
            let state = world.turns.0.lock();
            prop_assert_eq!((state.taken, state.waiting), (busy.len(), waiting.len()));
            prop_assert!(state.lines.values().all(|line| line.taken + line.waiting.len() > 0));
            let queues = state.lines.values().filter(|line| !line.waiting.is_empty()).count();
            prop_assert_eq!(state.rotation.len(), queues);
        }
    }
}
