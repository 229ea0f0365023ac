//! Public connections that are not (yet) a stream: how many there are, and which gives way.
//!
//! Each costs about 20 KB, so they are bounded. When all places are taken, a connection that
//! waits for its client gives way to a newcomer: for the rest of a head, a body or a TLS record,
//! or for the last answer to be read. One that the server itself works on does not
//! ([`Handshake::working`]). [`Places`] says whose turn it is.

#![allow(clippy::indexing_slicing)] // a shard has metrics of its own number

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Network;
use super::places::Places;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// How long a connection keeps its place while others wait: longer than any round trip, and short
/// enough that a flood of idle ones passes through in seconds.
const GRACE_MS: u64 = 500;
/// The same for an address that holds more than its share: most round trips, and twice the pace
/// for whoever has to wait behind a flood.
const CROWD_GRACE_MS: u64 = 250;

/// So large a part of the places is freed at once where a crowd holds them.
const AT_ONCE_PART: usize = 8;

/// Whose turn it is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// One of a crowd was asked.
    OfCrowd,
    /// Another was.
    Taken,
    /// The next one has until then.
    NotBefore(u64),
    Nobody,
}

/// One shard's handshakes in flight.
#[derive(Debug)]
pub(crate) struct Handshakes {
    places: RefCell<Places<Rc<Holder>>>,
    entered: Cell<u64>,
    most: usize,
    left: Notify,
    /// One that was asked has stayed, or the work on one has ended: whose turn it is may be another's.
    waits: Notify,
    clock: Clock,
    metrics: Arc<Metrics>,
    shard: u16,
}

#[derive(Debug)]
struct Holder {
    since_ms: u64,
    evicted: Notify,
    /// It did not leave when it was first asked to.
    has_stayed: Cell<bool>,
}

/// A place among the handshakes, given back when dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    all: Rc<Handshakes>,
    key: usize,
    holder: Rc<Holder>,
}

impl Handshakes {
    pub(crate) fn new(most: usize, clock: Clock, metrics: Arc<Metrics>, shard: u16) -> Rc<Self> {
        Rc::new(Self {
            places: RefCell::new(Places::new(most)),
            entered: Cell::new(0),
            most,
            left: Notify::new(),
            waits: Notify::new(),
            clock,
            metrics,
            shard,
        })
    }

    /// Handshakes in flight.
    pub(crate) fn len(&self) -> usize {
        self.places.borrow().held()
    }

    /// Handshakes that ever began.
    pub(crate) fn entered(&self) -> u64 {
        self.entered.get()
    }

    /// How many connections that were streams find a place. They get half of them at most: when
    /// many streams end at once, newcomers do not have to wait.
    pub(crate) fn room_for_returned(&self) -> usize {
        (self.most / 2).max(1).saturating_sub(self.len())
    }

    /// Waits for a free place, making one where a connection that waits is past its grace.
    pub(crate) async fn room(&self) {
        while self.len() >= self.most {
            let (left, waits) = (self.left.notified(), self.waits.notified());
            let turn = self.make_room();
            let grace_ends = async {
                match turn {
                    Turn::NotBefore(at_ms) => self.clock.sleep_until(at_ms).await,
                    Turn::OfCrowd | Turn::Taken | Turn::Nobody => std::future::pending().await,
                }
            };
            tokio::select! {
                () = left => {}
                () = waits => {}
                () = grace_ends => {}
            }
        }
    }

    /// Waits until one has left.
    pub(crate) async fn one_left(&self) {
        self.left.notified().await;
    }

    /// Takes a place, which counts against this address; `None` stands for a unix socket's peer.
    pub(crate) fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Handshake {
        self.entered.set(self.entered.get() + 1);
        let holder = Rc::new(Holder {
            since_ms: self.clock.now_ms(),
            evicted: Notify::new(),
            has_stayed: Cell::new(false),
        });
        let mut places = self.places.borrow_mut();
        let key = places.enter(Network::of(address), Rc::clone(&holder));
        self.metrics.shards[usize::from(self.shard)]
            .handshakes
            .add(1);
        Handshake {
            all: Rc::clone(self),
            key,
            holder,
        }
    }

    /// Asks whose turn it is to leave. Of a crowd several, since newcomers come as fast as they are
    /// accepted, and each who leaves takes a turn of the runtime.
    fn make_room(&self) -> Turn {
        let at_once = (self.most / AT_ONCE_PART).max(1);
        let first = self.ask_next();
        if first == Turn::OfCrowd {
            let mut more = (1..at_once).map(|_| self.ask_next());
            let _ = more.find(|turn| *turn != Turn::OfCrowd);
        }
        first
    }

    fn ask_next(&self) -> Turn {
        let mut places = self.places.borrow_mut();
        let Some(next) = places.candidate() else {
            return Turn::Nobody;
        };
        let grace_ms = if next.is_of_crowd {
            CROWD_GRACE_MS
        } else {
            GRACE_MS
        };
        let holder = places.get(next.key);
        let at_ms = holder.since_ms + grace_ms;
        if at_ms > self.clock.now_ms() {
            return Turn::NotBefore(at_ms);
        }
        holder.evicted.notify_one();
        places.start_leaving(next.key);
        if next.is_of_crowd {
            Turn::OfCrowd
        } else {
            Turn::Taken
        }
    }
}

impl Handshake {
    /// When it began, on the monotonic clock.
    pub(crate) fn since_ms(&self) -> u64 {
        self.holder.since_ms
    }

    /// Counts it against this address from now on: whom a PROXY header or a trusted proxy names.
    pub(crate) fn set_address(&self, address: Option<IpAddr>) {
        let mut places = self.all.places.borrow_mut();
        places.move_to(self.key, Network::of(address));
    }

    /// Waits for what the server does, and not the client: until then the connection does not give
    /// way, up to a share of each address.
    pub(crate) async fn working<T>(&self, work: impl Future<Output = T>) -> T {
        self.all.places.borrow_mut().start_work(self.key);
        let _rest = Rest(self);
        work.await
    }

    /// Whether places run short, and its address holds more than its share of them: it should not be
    /// kept for another request. That is when half of them are taken:
    /// in a flood, some are always free.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let places = self.all.places.borrow();
        places.held() >= self.all.most.div_ceil(2) && places.is_of_crowd(self.key)
    }

    /// Waits until the connection is asked to give way.
    pub(crate) async fn evicted(&self) {
        self.holder.evicted.notified().await;
    }

    /// Stays instead, behind the others, since the client was not what it waited for; false where
    /// it has done so before.
    pub(crate) fn stay(&self) -> bool {
        let mut places = self.all.places.borrow_mut();
        let may_stay = !self.holder.has_stayed.replace(true) || places.is_working(self.key);
        if may_stay {
            places.stay(self.key);
            self.all.waits.notify_waiters();
        }
        may_stay
    }
}

/// Ends the work on a connection, however that ends.
struct Rest<'a>(&'a Handshake);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        let Handshake { all, key, .. } = self.0;
        all.places.borrow_mut().end_work(*key);
        all.waits.notify_waiters();
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.places.borrow_mut().leave(self.key);
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

    /// Whether it is asked to leave, once.
    async fn is_asked(handshake: &Handshake) -> bool {
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

    /// Whether there is room now; asks whoever has to leave for it.
    async fn has_room(handshakes: &Handshakes) -> bool {
        is_ready(&mut pin!(handshakes.room())).await
    }

    #[tokio::test]
    async fn a_crowd_has_less_time_than_the_others() {
        for (crowded, grace_ms) in [(true, CROWD_GRACE_MS), (false, GRACE_MS)] {
            let (clock, handshakes) = handshakes();
            let number = |place: u8| if crowded { 0 } else { place };
            let all: Vec<_> = (0..16)
                .map(|place| handshakes.enter(Some(address(number(place)))))
                .collect();
            clock.advance(MS * u32::try_from(grace_ms - 1).unwrap());
            assert!(!has_room(&handshakes).await);
            assert!(!is_asked(&all[0]).await);
            clock.advance(MS);
            assert!(!has_room(&handshakes).await);
            // An eighth of a crowd, or one connection.
            let at_once = if crowded { 2 } else { 1 };
            for (place, handshake) in all.iter().enumerate() {
                assert_eq!(is_asked(handshake).await, place < at_once, "{place}");
            }
        }
    }

    #[tokio::test]
    async fn of_a_crowd_an_eighth_gives_way_at_once() {
        let (clock, handshakes) = handshakes();
        let mut all: Vec<_> = (0..16)
            .map(|_| handshakes.enter(Some(address(0))))
            .collect();
        clock.advance(Duration::from_secs(1));
        let mut newcomers = Vec::new();
        for number in 1..=5 {
            assert!(!has_room(&handshakes).await);
            for _ in 0..2 {
                assert!(is_asked(&all[0]).await);
                all.remove(0);
                assert!(has_room(&handshakes).await);
                newcomers.push(handshakes.enter(Some(address(number))));
            }
        }
        assert_eq!(handshakes.len(), MOST);
        for handshake in all.iter().chain(&newcomers) {
            assert!(!is_asked(handshake).await);
        }
    }

    #[tokio::test]
    async fn whose_bytes_are_here_stays_once() {
        let (clock, handshakes) = handshakes();
        let all: Vec<_> = (0..16)
            .map(|_| handshakes.enter(Some(address(0))))
            .collect();
        clock.advance(Duration::from_secs(1));
        let mut room = pin!(handshakes.room());
        for two in all.chunks(2) {
            assert!(!is_ready(&mut room).await);
            for handshake in two {
                assert!(is_asked(handshake).await && handshake.stay());
            }
        }
        assert!(!is_ready(&mut room).await);
        assert!(is_asked(&all[0]).await && !all[0].stay());
        drop(all);
        assert!(is_ready(&mut room).await);
    }

    #[tokio::test]
    async fn who_was_worked_on_gives_way_afterwards() {
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
        assert!(!is_asked(&all[0]).await);
        done.notify_waiters();
        assert!(is_ready(&mut work[3]).await);
        drop(work);
        assert!(!is_ready(&mut room).await);
        assert!(is_asked(&all[0]).await || is_asked(&all[3]).await);
        all.clear();
        assert!(is_ready(&mut room).await);
    }
}
