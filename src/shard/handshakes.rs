//! Public connections that are not (yet) a stream: how many, how old, and which gives way.
//!
//! They are what costs memory (about 20 KB each), so they are bounded. When all places are
//! taken, the oldest that has not sent a complete request gives way after a grace: idle
//! half-open connections cannot keep others out.

#![allow(clippy::indexing_slicing)] // a shard has metrics of its own number

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// How long a connection may hold its place without a request while others wait: longer than
/// any round trip, and short enough that a flood of idle ones passes through in seconds.
const GRACE_MS: u64 = 500;

/// One shard's handshakes in flight.
#[derive(Debug)]
pub struct Handshakes {
    in_flight: RefCell<BTreeMap<u64, Rc<State>>>,
    next: Cell<u64>,
    most: usize,
    left: Notify,
    clock: Clock,
    metrics: Arc<Metrics>,
    shard: u16,
}

#[derive(Debug)]
struct State {
    since_ms: u64,
    has_request: Cell<bool>,
    evicted: Notify,
}

/// A place among the handshakes, given back when dropped.
#[derive(Debug)]
pub struct Handshake {
    all: Rc<Handshakes>,
    number: u64,
    state: Rc<State>,
}

impl Handshakes {
    pub(super) fn new(most: usize, clock: Clock, metrics: Arc<Metrics>, shard: u16) -> Rc<Self> {
        Rc::new(Self {
            in_flight: RefCell::default(),
            next: Cell::new(0),
            most,
            left: Notify::new(),
            clock,
            metrics,
            shard,
        })
    }

    /// Handshakes in flight.
    pub(super) fn len(&self) -> usize {
        self.in_flight.borrow().len()
    }

    /// Handshakes that ever began.
    pub(super) fn entered(&self) -> u64 {
        self.next.get()
    }

    /// Whether a connection that was a stream finds a place. They get half of them at most: when
    /// many streams end at once, newcomers do not have to wait.
    pub(super) fn has_room_for_returned(&self) -> bool {
        self.len() < self.most / 2
    }

    /// Waits for a free place, making one where an idle handshake is past its grace.
    pub(super) async fn room(&self) {
        while self.len() >= self.most {
            let left = self.left.notified();
            let grace_ends_ms = match self.oldest_idle() {
                Some(oldest) if oldest.since_ms + GRACE_MS <= self.clock.now_ms() => {
                    oldest.has_request.set(true); // so that it is chosen once
                    oldest.evicted.notify_one();
                    None
                }
                Some(oldest) => Some(oldest.since_ms + GRACE_MS),
                None => None,
            };
            match grace_ends_ms {
                Some(at_ms) => tokio::select! {
                    () = left => {}
                    () = self.clock.sleep_until(at_ms) => {}
                },
                None => left.await,
            }
        }
    }

    /// Waits until one has left.
    pub(super) async fn one_left(&self) {
        self.left.notified().await;
    }

    pub(super) fn enter(self: &Rc<Self>) -> Handshake {
        let number = self.next.replace(self.next.get() + 1);
        let state = Rc::new(State {
            since_ms: self.clock.now_ms(),
            has_request: Cell::new(false),
            evicted: Notify::new(),
        });
        self.in_flight
            .borrow_mut()
            .insert(number, Rc::clone(&state));
        self.metrics.shards[usize::from(self.shard)]
            .handshakes
            .add(1);
        Handshake {
            all: Rc::clone(self),
            number,
            state,
        }
    }

    fn oldest_idle(&self) -> Option<Rc<State>> {
        let in_flight = self.in_flight.borrow();
        let oldest = in_flight.values().find(|state| !state.has_request.get());
        oldest.cloned()
    }
}

impl Handshake {
    /// When it began, on the monotonic clock.
    pub fn since_ms(&self) -> u64 {
        self.state.since_ms
    }

    /// A complete request has come, or been answered: from here on the connection does not give
    /// way, or does again.
    pub fn set_has_request(&self, has_request: bool) {
        self.state.has_request.set(has_request);
    }

    /// Waits until the connection has to give way.
    pub async fn evicted(&self) {
        self.state.evicted.notified().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.in_flight.borrow_mut().remove(&self.number);
        self.all.metrics.shards[usize::from(self.all.shard)]
            .handshakes
            .sub(1);
        // The acceptor and the shard's loop both wait for this.
        self.all.left.notify_waiters();
    }
}
