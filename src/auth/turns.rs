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
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Where a request comes from: an address, an IPv6 network of 64 bits (which a single host may
/// have all of), or nowhere that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Option<IpAddr>);

impl From<Option<IpAddr>> for Origin {
    fn from(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
            IpAddr::V4(v4) => v4.into(),
        }))
    }
}

/// How many turns there are.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
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
pub enum Repute {
    /// Nothing bad.
    Good,
    /// Much of what it asked for was in vain.
    Suspect,
}

/// See the module's text. Clones share the turns.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bounds: Bounds,
    taken: usize,
    /// Addresses that have turns or wait for some; no entry is empty.
    lines: HashMap<Origin, Line>,
    /// Addresses that wait, the next one first. Each stands here once.
    rotation: VecDeque<Origin>,
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
pub struct Turn {
    turns: Turns,
    origin: Origin,
}

/// Too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Turns {
    /// As many as `bounds` say.
    pub fn new(bounds: Bounds) -> Self {
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
    pub async fn take(&self, origin: Origin, repute: Repute) -> Result<Turn, Busy> {
        let (number, turn) = {
            let mut state = self.0.lock();
            if state.is_free(origin) {
                state.grant(origin);
                drop(state);
                return Ok(self.turn(origin));
            }
            state.enter(origin, repute)
        };
        // Whoever stops waiting leaves the queue.
        let _place = Place {
            turns: self,
            origin,
            number,
        };
        turn.await.map_err(|_| Busy)
    }

    fn turn(&self, origin: Origin) -> Turn {
        Turn {
            turns: self.clone(),
            origin,
        }
    }

    /// Hands a turn that was given back to whoever is next.
    fn hand_on(&self, from: Origin) {
        let next = {
            let mut state = self.0.lock();
            state.give_back(from);
            state.next()
        };
        if let Some((origin, waiter)) = next {
            // If nobody waits for it any more, it is dropped here, and so handed on.
            let _ = waiter.turn.send(self.turn(origin));
        }
    }
}

impl State {
    fn is_free(&self, origin: Origin) -> bool {
        let own = self.lines.get(&origin).map_or(0, |line| line.taken);
        self.taken < self.bounds.at_once && own < self.bounds.at_once_each
    }

    fn grant(&mut self, origin: Origin) {
        self.taken += 1;
        self.lines.entry(origin).or_default().taken += 1;
    }

    fn give_back(&mut self, origin: Origin) {
        self.taken -= 1;
        if let Some(line) = self.lines.get_mut(&origin) {
            line.taken -= 1;
        }
        self.forget_if_empty(origin);
    }

    fn enter(&mut self, origin: Origin, repute: Repute) -> (u64, oneshot::Receiver<Turn>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.entered;
        self.entered += 1;
        let line = self.lines.entry(origin).or_default();
        if line.waiting.is_empty() {
            self.rotation.push_back(origin);
        }
        line.waiting.push_back(Waiter {
            number,
            turn: sender,
        });
        line.is_suspect = repute == Repute::Suspect;
        let is_over = line.is_suspect && line.waiting.len() > self.bounds.waiting_suspect;
        self.waiting += 1;
        if is_over {
            self.take_out(origin, VecDeque::pop_front);
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
    fn next(&mut self) -> Option<(Origin, Waiter)> {
        // At most `at_once / at_once_each` addresses have all that they may have.
        let place = self
            .rotation
            .iter()
            .position(|origin| self.is_free(*origin))?;
        let origin = *self.rotation.get(place)?;
        // To the end, if it waits for more.
        self.rotation.remove(place);
        self.rotation.push_back(origin);
        let waiter = if self.lines.get(&origin)?.is_suspect {
            self.take_out(origin, VecDeque::pop_back)?
        } else {
            self.take_out(origin, VecDeque::pop_front)?
        };
        self.grant(origin);
        Some((origin, waiter))
    }

    /// Takes one that waits out of its queue.
    fn take_out(
        &mut self,
        origin: Origin,
        take: impl FnOnce(&mut VecDeque<Waiter>) -> Option<Waiter>,
    ) -> Option<Waiter> {
        let line = self.lines.get_mut(&origin)?;
        let waiter = take(&mut line.waiting)?;
        if line.waiting.is_empty() {
            self.rotation.retain(|other| *other != origin);
        }
        self.waiting -= 1;
        self.forget_if_empty(origin);
        Some(waiter)
    }

    fn forget_if_empty(&mut self, origin: Origin) {
        let line = self.lines.get(&origin);
        if line.is_some_and(|line| line.taken == 0 && line.waiting.is_empty()) {
            self.lines.remove(&origin);
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
    origin: Origin,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.0.lock();
        // Numbers rise from the front to the back. After its turn has come, none is there.
        let waiter = state.take_out(self.origin, |waiting| {
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
        self.turns.hand_on(self.origin);
    }
}

#[cfg(test)]
mod tests;
