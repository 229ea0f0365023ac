//! A queue in front of costly work: a few callers work at once, and the others wait.
//!
//! Each address has a queue of its own, and the queues are served in rotation. So one address
//! cannot delay another by more than a few pieces of work, however much it asks for. Within an
//! address, callers are served in order of arrival. Only the number of handshakes limits them, so
//! that a reconnect storm gets through completely.
//!
//! The queue of a [`Suspect`](Reputation::Suspect) address is short and served newest first. A
//! flood asks for more than can be done. In order of arrival all its requests would time out,
//! including those of honest clients at the same address.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::net::Network;

/// The limits of a [`FairQueue`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// Grants at once.
    pub at_once: usize,
    /// Grants at once per address.
    pub at_once_each: usize,
    /// Callers that wait. One more ends the longest wait of the address with the most callers.
    pub waiting: usize,
    /// Callers that wait per suspect address. One more ends the longest wait there.
    pub waiting_suspect: usize,
}

/// How an address has behaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reputation {
    Good,
    /// Many of its requests were in vain.
    Suspect,
}

/// Hands out a limited number of [`Grant`]s, fairly between networks. Clones share one queue.
#[derive(Clone, Debug)]
pub(crate) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limits: QueueLimits,
    granted: usize,
    /// Addresses that hold grants or wait for one. Others are removed.
    queues: HashMap<Network, Queue>,
    /// Addresses that wait, each once, the next one first.
    rotation: VecDeque<Network>,
    waiting: usize,
    /// The number of the next waiter.
    next_number: u64,
}

/// The grants and waiters of one address.
#[derive(Debug, Default)]
struct Queue {
    /// As of the newest call.
    is_suspect: bool,
    granted: usize,
    /// Oldest first.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    grant: oneshot::Sender<Grant>,
}

/// Permission to work, returned when dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    queue: FairQueue,
    network: Network,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

impl FairQueue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self(Arc::new(Mutex::new(State {
            limits,
            granted: 0,
            queues: HashMap::new(),
            rotation: VecDeque::new(),
            waiting: 0,
            next_number: 0,
        })))
    }

    /// Waits for a grant.
    ///
    /// # Errors
    /// The queue is full, and this caller gave way.
    pub(crate) async fn enter(
        &self,
        network: Network,
        reputation: Reputation,
    ) -> Result<Grant, Busy> {
        let (number, grant) = {
            let mut state = self.0.lock();
            if state.is_free(network) {
                state.grant(network);
                drop(state);
                return Ok(self.granted(network));
            }
            state.wait(network, reputation)
        };
        // A caller that stops waiting leaves the queue.
        let _waiting = LeaveOnDrop {
            queue: self,
            network,
            number,
        };
        grant.await.map_err(|_| Busy)
    }

    fn granted(&self, network: Network) -> Grant {
        Grant {
            queue: self.clone(),
            network,
        }
    }

    /// Passes a returned grant on to the next waiter.
    fn pass_on(&self, from: Network) {
        let next = {
            let mut state = self.0.lock();
            state.give_back(from);
            state.next()
        };
        if let Some((network, waiter)) = next {
            // If the waiter has gone, the grant is dropped here, which passes it on.
            let _ = waiter.grant.send(self.granted(network));
        }
    }
}

impl State {
    fn is_free(&self, network: Network) -> bool {
        let own = self.queues.get(&network).map_or(0, |queue| queue.granted);
        self.granted < self.limits.at_once && own < self.limits.at_once_each
    }

    fn grant(&mut self, network: Network) {
        self.granted += 1;
        self.queues.entry(network).or_default().granted += 1;
    }

    fn give_back(&mut self, network: Network) {
        self.granted -= 1;
        if let Some(queue) = self.queues.get_mut(&network) {
            queue.granted -= 1;
        }
        self.remove_if_empty(network);
    }

    fn wait(
        &mut self,
        network: Network,
        reputation: Reputation,
    ) -> (u64, oneshot::Receiver<Grant>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        let queue = self.queues.entry(network).or_default();
        if queue.waiting.is_empty() {
            self.rotation.push_back(network);
        }
        queue.waiting.push_back(Waiter {
            number,
            grant: sender,
        });
        queue.is_suspect = reputation == Reputation::Suspect;
        let is_over = queue.is_suspect && queue.waiting.len() > self.limits.waiting_suspect;
        self.waiting += 1;
        if is_over {
            self.take_out(network, VecDeque::pop_front);
        } else if self.waiting > self.limits.waiting {
            let most = self
                .queues
                .iter()
                .max_by_key(|(_, queue)| queue.waiting.len());
            if let Some((most, _)) = most {
                let most = *most;
                self.take_out(most, VecDeque::pop_front);
            }
        }
        (number, receiver)
    }

    /// Takes out the next waiter that can have a grant, and counts the grant.
    fn next(&mut self) -> Option<(Network, Waiter)> {
        // At most `at_once / at_once_each` addresses hold all grants that they can have.
        let place = self
            .rotation
            .iter()
            .position(|network| self.is_free(*network))?;
        let network = *self.rotation.get(place)?;
        // To the end, if it has more waiters.
        self.rotation.remove(place);
        self.rotation.push_back(network);
        let waiter = if self.queues.get(&network)?.is_suspect {
            self.take_out(network, VecDeque::pop_back)?
        } else {
            self.take_out(network, VecDeque::pop_front)?
        };
        self.grant(network);
        Some((network, waiter))
    }

    /// Takes one waiter out of its queue.
    fn take_out(
        &mut self,
        network: Network,
        take: impl FnOnce(&mut VecDeque<Waiter>) -> Option<Waiter>,
    ) -> Option<Waiter> {
        let queue = self.queues.get_mut(&network)?;
        let waiter = take(&mut queue.waiting)?;
        if queue.waiting.is_empty() {
            self.rotation.retain(|other| *other != network);
        }
        self.waiting -= 1;
        self.remove_if_empty(network);
        Some(waiter)
    }

    fn remove_if_empty(&mut self, network: Network) {
        let queue = self.queues.get(&network);
        if queue.is_some_and(|queue| queue.granted == 0 && queue.waiting.is_empty()) {
            self.queues.remove(&network);
        }
        if self.queues.is_empty() {
            // Frees the memory that a flood used.
            self.queues = HashMap::new();
            self.rotation = VecDeque::new();
        }
    }
}

/// Removes a caller from its queue when it stops waiting.
struct LeaveOnDrop<'a> {
    queue: &'a FairQueue,
    network: Network,
    number: u64,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.0.lock();
        // Numbers rise from front to back. A waiter that got its grant is no longer there.
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

impl Drop for Grant {
    fn drop(&mut self) {
        self.queue.pass_on(self.network);
    }
}

#[cfg(test)]
mod tests;
