//! Public connections that are not (yet) a stream: their number, and asking them to give way.
//!
//! Each typically costs 2 to 25 KB, so their number is bounded. When all places are taken, a connection that
//! waits for its client gives way to a new one. It may wait for the rest of a head, a body or a TLS
//! record, or for its last response to be read. Connections that the server is working on are protected
//! ([`Handshake::working`]). [`EvictionQueue`] chooses the connection.

#![allow(clippy::indexing_slicing)] // a shard has metrics of its own number

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Network;
use super::eviction::EvictionQueue;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Time that a connection keeps its place while others wait: longer than any round trip, and short
/// enough that a flood of idle connections passes in seconds.
const GRACE_MS: u64 = 500;
/// The same for an address with more than its share. It covers most round trips, and halves the wait of
/// clients behind a flood.
const CROWD_GRACE_MS: u64 = 250;

/// The part of the places that is freed at once if a crowd holds them.
const AT_ONCE_PART: usize = 8;

/// The result of asking a connection to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eviction {
    /// A connection of a crowd was asked.
    FromCrowd,
    /// Another connection was asked.
    Single,
    /// The next connection may stay until then.
    NotBefore(u64),
    NoCandidate,
}

/// One shard's handshakes in flight.
#[derive(Debug)]
pub(crate) struct Handshakes {
    queue: RefCell<EvictionQueue<Rc<State>>>,
    entered: Cell<u64>,
    most: usize,
    left: Notify,
    /// Notified when a connection stays or its work ends: another one may then be the next to leave.
    waits: Notify,
    clock: Clock,
    metrics: Arc<Metrics>,
    shard: u16,
}

#[derive(Debug)]
struct State {
    since_ms: u64,
    evicted: Notify,
    /// It did not leave when it was first asked.
    has_stayed: Cell<bool>,
}

/// A place among the handshakes, returned when dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    all: Rc<Handshakes>,
    key: usize,
    state: Rc<State>,
}

impl Handshakes {
    pub(crate) fn new(most: usize, clock: Clock, metrics: Arc<Metrics>, shard: u16) -> Rc<Self> {
        Rc::new(Self {
            queue: RefCell::new(EvictionQueue::new(most)),
            entered: Cell::new(0),
            most,
            left: Notify::new(),
            waits: Notify::new(),
            clock,
            metrics,
            shard,
        })
    }

    /// The number of handshakes in flight.
    pub(crate) fn len(&self) -> usize {
        self.queue.borrow().held()
    }

    /// The number of handshakes ever begun.
    pub(crate) fn entered(&self) -> u64 {
        self.entered.get()
    }

    /// The number of places for connections that were streams. They get half of all places, so that new
    /// clients need not wait when many streams end at once.
    pub(crate) fn room_for_returned(&self) -> usize {
        (self.most / 2).max(1).saturating_sub(self.len())
    }

    /// The number of places for connections of another process, which had places there.
    pub(crate) fn room_for_taken_in(&self) -> usize {
        self.most.saturating_sub(self.len())
    }

    /// Waits for a free place, and asks connections past their grace period to leave.
    pub(crate) async fn room(&self) {
        while self.len() >= self.most {
            let (left, waits) = (self.left.notified(), self.waits.notified());
            let eviction = self.make_room();
            let grace_ends = async {
                match eviction {
                    Eviction::NotBefore(at_ms) => self.clock.sleep_until(at_ms).await,
                    Eviction::FromCrowd | Eviction::Single | Eviction::NoCandidate => {
                        std::future::pending::<()>().await;
                    }
                }
            };
            tokio::select! {
                () = left => {}
                () = waits => {}
                () = grace_ends => {}
            }
        }
    }

    /// Waits until a handshake has ended.
    pub(crate) async fn one_left(&self) {
        self.left.notified().await;
    }

    /// Takes a place, counted for this address; `None` is the peer of a unix socket.
    pub(crate) fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Handshake {
        self.entered.set(self.entered.get() + 1);
        let state = Rc::new(State {
            since_ms: self.clock.now_ms(),
            evicted: Notify::new(),
            has_stayed: Cell::new(false),
        });
        let mut queue = self.queue.borrow_mut();
        let key = queue.enter(Network::of(address), Rc::clone(&state));
        self.metrics.shards[usize::from(self.shard)]
            .handshakes
            .add(1);
        Handshake {
            all: Rc::clone(self),
            key,
            state,
        }
    }

    /// Asks the next connection to leave. Of a crowd it asks several, because new connections arrive as fast
    /// as they are accepted, and leaving takes a pass of the runtime.
    fn make_room(&self) -> Eviction {
        let at_once = (self.most / AT_ONCE_PART).max(1);
        let first = self.ask_next();
        if first == Eviction::FromCrowd {
            let mut more = (1..at_once).map(|_| self.ask_next());
            let _ = more.find(|eviction| *eviction != Eviction::FromCrowd);
        }
        first
    }

    fn ask_next(&self) -> Eviction {
        let mut queue = self.queue.borrow_mut();
        let Some(next) = queue.candidate() else {
            return Eviction::NoCandidate;
        };
        let grace_ms = if next.is_of_crowd {
            CROWD_GRACE_MS
        } else {
            GRACE_MS
        };
        let state = queue.get(next.key);
        let at_ms = state.since_ms + grace_ms;
        if at_ms > self.clock.now_ms() {
            return Eviction::NotBefore(at_ms);
        }
        state.evicted.notify_one();
        queue.start_leaving(next.key);
        if next.is_of_crowd {
            Eviction::FromCrowd
        } else {
            Eviction::Single
        }
    }
}

impl Handshake {
    /// When it began, on the monotonic clock.
    pub(crate) fn since_ms(&self) -> u64 {
        self.state.since_ms
    }

    /// Counts it for the address that a PROXY header or a trusted proxy names.
    pub(crate) fn set_address(&self, address: Option<IpAddr>) {
        let mut queue = self.all.queue.borrow_mut();
        queue.move_to(self.key, Network::of(address));
    }

    /// Runs the server's own work. Until it ends, the connection is protected from giving way, up to a share
    /// per address.
    pub(crate) async fn working<T>(&self, work: impl Future<Output = T>) -> T {
        self.all.queue.borrow_mut().start_work(self.key);
        let _rest = WorkGuard(self);
        work.await
    }

    /// Returns true if half of all places are taken and this address holds more than its share. The
    /// connection should then not be kept for another request. In a flood, some places are always free.
    pub(crate) fn is_over_share(&self) -> bool {
        let queue = self.all.queue.borrow();
        queue.held() >= self.all.most.div_ceil(2) && queue.is_of_crowd(self.key)
    }

    /// Waits until the connection is asked to give way.
    pub(crate) async fn evicted(&self) {
        self.state.evicted.notified().await;
    }

    /// Stays, behind the others, because the client had sent its bytes already. Returns false if it has
    /// stayed before.
    pub(crate) fn stay(&self) -> bool {
        let mut queue = self.all.queue.borrow_mut();
        let may_stay = !self.state.has_stayed.replace(true) || queue.is_working(self.key);
        if may_stay {
            queue.stay(self.key);
            self.all.waits.notify_waiters();
        }
        may_stay
    }
}

/// Ends the protection, however the work ends.
struct WorkGuard<'a>(&'a Handshake);

impl Drop for WorkGuard<'_> {
    fn drop(&mut self) {
        let Handshake { all, key, .. } = self.0;
        all.queue.borrow_mut().end_work(*key);
        all.waits.notify_waiters();
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.queue.borrow_mut().leave(self.key);
        self.all.metrics.shards[usize::from(self.all.shard)]
            .handshakes
            .sub(1);
        // The acceptor and the shard's loop both wait for this.
        self.all.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    const MOST: usize = 16;
    const MS: Duration = Duration::from_millis(1);

    fn handshakes() -> (Clock, Rc<Handshakes>) {
        let clock = Clock::manual(0);
        let metrics = Arc::new(Metrics::new(1));
        (clock.clone(), Handshakes::new(MOST, clock, metrics, 0))
    }

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    /// Returns true if the connection was asked to leave, and resets that.
    async fn take_eviction(handshake: &Handshake) -> bool {
        tokio::select! {
            biased;
            () = handshake.evicted() => true,
            () = std::future::ready(()) => false,
        }
    }

    async fn is_ready<F: Future<Output = ()> + Unpin>(future: &mut F) -> bool {
        tokio::select! {
            biased;
            () = future => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Returns true if there is room now. Otherwise asks connections to leave.
    async fn make_room(handshakes: &Handshakes) -> bool {
        is_ready(&mut pin!(handshakes.room())).await
    }

    #[tokio::test]
    async fn a_crowd_has_less_time_than_others() {
        for (crowded, grace_ms) in [(true, CROWD_GRACE_MS), (false, GRACE_MS)] {
            let (clock, handshakes) = handshakes();
            let number = |place: u8| if crowded { 0 } else { place };
            let all: Vec<_> = (0..16)
                .map(|place| handshakes.enter(Some(address(number(place)))))
                .collect();
            clock.advance(MS * u32::try_from(grace_ms - 1).unwrap());
            assert!(!make_room(&handshakes).await);
            assert!(!take_eviction(&all[0]).await);
            clock.advance(MS);
            assert!(!make_room(&handshakes).await);
            // An eighth of a crowd, or one connection.
            let at_once = if crowded { 2 } else { 1 };
            for (place, handshake) in all.iter().enumerate() {
                assert_eq!(take_eviction(handshake).await, place < at_once, "{place}");
            }
        }
    }

    #[tokio::test]
    async fn an_eighth_of_a_crowd_gives_way_at_once() {
        let (clock, handshakes) = handshakes();
        let mut all: Vec<_> = (0..16)
            .map(|_| handshakes.enter(Some(address(0))))
            .collect();
        clock.advance(Duration::from_secs(1));
        let mut newcomers = Vec::new();
        for number in 1..=5 {
            assert!(!make_room(&handshakes).await);
            for _ in 0..2 {
                assert!(take_eviction(&all[0]).await);
                all.remove(0);
                assert!(make_room(&handshakes).await);
                newcomers.push(handshakes.enter(Some(address(number))));
            }
        }
        assert_eq!(handshakes.len(), MOST);
        for handshake in all.iter().chain(&newcomers) {
            assert!(!take_eviction(handshake).await);
        }
    }

    #[tokio::test]
    async fn a_connection_whose_bytes_have_arrived_stays_once() {
        let (clock, handshakes) = handshakes();
        let all: Vec<_> = (0..16)
            .map(|_| handshakes.enter(Some(address(0))))
            .collect();
        clock.advance(Duration::from_secs(1));
        let mut room = pin!(handshakes.room());
        for two in all.chunks(2) {
            assert!(!is_ready(&mut room).await);
            for handshake in two {
                assert!(take_eviction(handshake).await && handshake.stay());
            }
        }
        assert!(!is_ready(&mut room).await);
        assert!(take_eviction(&all[0]).await && !all[0].stay());
        drop(all);
        assert!(is_ready(&mut room).await);
    }

    #[tokio::test]
    async fn a_connection_gives_way_after_the_servers_work() {
        let (clock, handshakes) = handshakes();
        let mut all: Vec<_> = (0..16)
            .map(|n| handshakes.enter(Some(address(n))))
            .collect();
        clock.advance(Duration::from_secs(1));
        let done = Notify::new();
        let mut work: Vec<_> = all
            .iter()
            .map(|handshake| Box::pin(handshake.working(done.notified())))
            .collect();
        for work in &mut work {
            assert!(!is_ready(work).await);
        }
        let mut room = pin!(handshakes.room());
        assert!(!is_ready(&mut room).await);
        assert!(!take_eviction(&all[0]).await);
        done.notify_waiters();
        assert!(is_ready(&mut work[3]).await);
        drop(work);
        assert!(!is_ready(&mut room).await);
        assert!(take_eviction(&all[0]).await || take_eviction(&all[3]).await);
        all.clear();
        assert!(is_ready(&mut room).await);
    }
}
