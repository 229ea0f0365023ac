//! Whose turn it is: work that is costly is done a few at a time, and fairly between the addresses
//! that cause it. However much one address asks for, another waits for a few turns at most.
//!
//! Each address has a queue of its own, and the queues are served in rotation. Who waits is served
//! in the order of arrival, and held back by nothing but the number of handshakes: that is how a
//! storm of clients gets through whole.
//!
//! The queue of an address that is [`Suspect`](Repute::Suspect) is short and serves the newest
//! first. A flood asks for more than can be done, so somebody has to wait in vain; in the order of
//! arrival everybody would, also whoever is honest and shares the address.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::net::Network;

/// How many turns there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Taken at once.
    pub at_once: usize,
    /// Taken at once by one address.
    pub at_once_each: usize,
    /// That wait for a turn. One more ends the longest wait of the address that waits most.
    pub waiting: usize,
    /// That wait for a turn at one address that is suspect. One more ends the longest wait there.
    pub waiting_suspect: usize,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repute {
    /// Nothing bad.
    Good,
    /// Much of what it asked for was in vain.
    Suspect,
}

/// A limited number of turns, shared fairly between networks. Clones share the turns.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bounds: Bounds,
    taken: usize,
    /// Addresses that have turns or wait for some; no entry is empty.
    lines: HashMap<Network, Line>,
    /// Addresses that wait, the next one first. Each stands here once.
    rotation: VecDeque<Network>,
    waiting: usize,
    entered: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// As it was told last.
    is_suspect: bool,
    taken: usize,
    /// Oldest first.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    turn: oneshot::Sender<Turn>,
}

/// A turn, given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    network: Network,
}

/// Too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

impl Turns {
    /// As many as `bounds` say.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(State {
            bounds,
            taken: 0,
            lines: HashMap::new(),
            rotation: VecDeque::new(),
            waiting: 0,
            entered: 0,
        })))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait, and this one gave way.
    pub(crate) async fn take(&self, network: Network, repute: Repute) -> Result<Turn, Busy> {
        let (number, turn) = {
            let mut state = self.0.lock();
            if state.is_free(network) {
                state.grant(network);
                drop(state);
                return Ok(self.turn(network));
            }
            state.enter(network, repute)
        };
        // Whoever stops waiting leaves the queue.
        let _place = Place {
            turns: self,
            network,
            number,
        };
        turn.await.map_err(|_| Busy)
    }

    fn turn(&self, network: Network) -> Turn {
        Turn {
            turns: self.clone(),
            network,
        }
    }

    /// Hands a turn that was given back to whoever is next.
    fn hand_on(&self, from: Network) {
        let next = {
            let mut state = self.0.lock();
            state.give_back(from);
            state.next()
        };
        if let Some((network, waiter)) = next {
            // If nobody waits for it any more, it is dropped here, and so handed on.
            let _ = waiter.turn.send(self.turn(network));
        }
    }
}

impl State {
    fn is_free(&self, network: Network) -> bool {
        let own = self.lines.get(&network).map_or(0, |line| line.taken);
        self.taken < self.bounds.at_once && own < self.bounds.at_once_each
    }

    fn grant(&mut self, network: Network) {
        self.taken += 1;
        self.lines.entry(network).or_default().taken += 1;
    }

    fn give_back(&mut self, network: Network) {
        self.taken -= 1;
        if let Some(line) = self.lines.get_mut(&network) {
            line.taken -= 1;
        }
        self.forget_if_empty(network);
    }

    fn enter(&mut self, network: Network, repute: Repute) -> (u64, oneshot::Receiver<Turn>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.entered;
        self.entered += 1;
        let line = self.lines.entry(network).or_default();
        if line.waiting.is_empty() {
            self.rotation.push_back(network);
        }
        line.waiting.push_back(Waiter {
            number,
            turn: sender,
        });
        line.is_suspect = repute == Repute::Suspect;
        let is_over = line.is_suspect && line.waiting.len() > self.bounds.waiting_suspect;
        self.waiting += 1;
        if is_over {
            self.take_out(network, VecDeque::pop_front);
        } else if self.waiting > self.bounds.waiting {
            let most = self.lines.iter().max_by_key(|(_, line)| line.waiting.len());
            if let Some((most, _)) = most {
                let most = *most;
                self.take_out(most, VecDeque::pop_front);
            }
        }
        (number, receiver)
    }

    /// Grants the next turn, if one is free for anybody that waits.
    fn next(&mut self) -> Option<(Network, Waiter)> {
        // At most `at_once / at_once_each` addresses have all that they may have.
        let place = self
            .rotation
            .iter()
            .position(|network| self.is_free(*network))?;
        let network = *self.rotation.get(place)?;
        // To the end, if it waits for more.
        self.rotation.remove(place);
        self.rotation.push_back(network);
        let waiter = if self.lines.get(&network)?.is_suspect {
            self.take_out(network, VecDeque::pop_back)?
        } else {
            self.take_out(network, VecDeque::pop_front)?
        };
        self.grant(network);
        Some((network, waiter))
    }

    /// Takes one that waits out of its queue.
    fn take_out(
        &mut self,
        network: Network,
        take: impl FnOnce(&mut VecDeque<Waiter>) -> Option<Waiter>,
    ) -> Option<Waiter> {
        let line = self.lines.get_mut(&network)?;
        let waiter = take(&mut line.waiting)?;
        if line.waiting.is_empty() {
            self.rotation.retain(|other| *other != network);
        }
        self.waiting -= 1;
        self.forget_if_empty(network);
        Some(waiter)
    }

    fn forget_if_empty(&mut self, network: Network) {
        let line = self.lines.get(&network);
        if line.is_some_and(|line| line.taken == 0 && line.waiting.is_empty()) {
            self.lines.remove(&network);
        }
        if self.lines.is_empty() {
            // What a flood grew goes back.
            self.lines = HashMap::new();
            self.rotation = VecDeque::new();
        }
    }
}

/// A place in a queue, for as long as somebody waits at it.
struct Place<'a> {
    turns: &'a Turns,
    network: Network,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.0.lock();
        // Numbers rise from the front to the back. After its turn has come, none is there.
        let waiter = state.take_out(self.network, |waiting| {
            let place = waiting
                .binary_search_by_key(&self.number, |waiter| waiter.number)
                .ok()?;
            waiting.remove(place)
        });
        drop(state);
        drop(waiter);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.hand_on(self.network);
    }
}

#[cfg(test)]
mod tests;
