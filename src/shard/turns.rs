//! One turn of a shard: a slice each of sockets, timers, deliveries and replays. Then the time of the next one, if
//! nothing else wakes the shard.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::connections::Sleep;
use super::poller::{Poller, Readiness};
use super::shard::Shard;
use super::shared::Shared;
use super::wheel::{Tick, start_of};
use crate::net::Handshakes;

/// The turns of the shard's loop, and the sleep after each.
pub(super) struct Turns {
    number: u16,
    poller: Rc<Poller>,
    rearmed: Rc<Notify>,
    happened: Vec<Readiness>,
    /// The shard was ordered to stop, and has ended its streams.
    pub(super) is_stopped: bool,
}

impl Turns {
    pub(super) fn new(shard: &RefCell<Shard>) -> Self {
        let shard = shard.borrow();
        Self {
            number: shard.number(),
            poller: shard.connections.poller(),
            rearmed: shard.connections.rearmed(),
            happened: Vec::new(),
            is_stopped: false,
        }
    }

    /// Does a slice of everything. Returns true if there may be more.
    pub(super) fn take(&mut self, shard: &RefCell<Shard>, now_ms: u64) -> bool {
        let shard = &mut *shard.borrow_mut();
        shard.connections.set_sleep(Sleep::Awake);
        self.is_stopped = shard.take_orders(now_ms);
        let more_sockets = shard.poll_sockets(&mut self.happened);
        let more_timers = shard.run_timers(Tick::at_ms(now_ms));
        let more_deliveries = shard.deliver();
        let more_catch_ups = shard.run_catch_ups();
        shard.run_drain(now_ms);
        more_sockets || more_timers || more_deliveries || more_catch_ups
    }

    /// The time at which the shard next has something to do. `now_ms` is the turn's clock reading. With a
    /// later one, anything that became due in between would be neither done nor waited for.
    pub(super) fn wake_at_ms(
        shard: &RefCell<Shard>,
        now_ms: u64,
        collect_at_ms: Option<u64>,
    ) -> Option<u64> {
        let mut shard = shard.borrow_mut();
        let timer = shard.connections.next_tick();
        let sleep = timer.map_or(Sleep::Unbounded, Sleep::Until);
        shard.connections.set_sleep(sleep);
        let timer_ms = timer.map(|tick| start_of(tick, now_ms));
        let due_ms = [timer_ms, shard.drain_due_ms(), collect_at_ms];
        due_ms.into_iter().flatten().min()
    }

    /// Sleeps until there may be something to do, at the latest until `wake_at_ms`; with `handshakes`, until one of them
    /// has ended.
    pub(super) async fn sleep(
        &self,
        handshakes: Option<&Handshakes>,
        shared: &Shared,
        wake_at_ms: Option<u64>,
    ) {
        let inbox = shared.hub.inbox(self.number);
        let alarm = async {
            match wake_at_ms {
                Some(at_ms) => shared.clock.sleep_until(at_ms).await,
                None => std::future::pending().await,
            }
        };
        let one_left = async {
            match handshakes {
                Some(handshakes) => handshakes.one_left().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = inbox.filled() => {}
            () = self.poller.ready() => {}
            () = self.rearmed.notified() => {}
            () = one_left => {}
            () = alarm => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::shard::connection::Connection;
    use crate::shard::model::shared;
    use crate::shard::{Admission, Detached};

    /// A shard with this many test streams, and the clients' sockets.
    fn shard_of(streams: usize, shared: Shared) -> (RefCell<Shard>, Vec<UnixStream>) {
        let mut shard = Shard::new(0, shared, Poller::new().unwrap());
        let clients = (0..streams).map(|_| {
            let (client, server) = UnixStream::pair().unwrap();
            let admission = Admission::of_test_stream();
            let seat = shard.admit(admission).unwrap();
            let detached = Detached::from(std::os::fd::OwnedFd::from(server));
            shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
            client
        });
        let clients = clients.collect();
        (RefCell::new(shard), clients)
    }

    #[tokio::test]
    async fn a_shard_does_not_oversleep_what_becomes_due_between_a_turn_and_its_sleep() {
        const STREAMS: usize = 8;
        let clock = Clock::manual(0);
        let shared = shared(clock.clone(), 1);
        let (shard, _clients) = shard_of(STREAMS, shared.clone());
        let mut turns = Turns::new(&shard);
        let mut take = || {
            let now_ms = clock.now_ms();
            while turns.take(&shard, now_ms) {}
            // The clock moves between the turn and the sleep, and not during the sleep.
            clock.advance(Duration::from_secs(1));
            let wake_at_ms = Turns::wake_at_ms(&shard, now_ms, None);
            (shard.borrow().len(), wake_at_ms)
        };
        shared.hub.inbox(0).order_drain(4);
        let (held, wake_at_ms) = take();
        assert_eq!(held, STREAMS - 1);
        assert!(
            wake_at_ms.is_some_and(|at_ms| at_ms <= 1_000),
            "{wake_at_ms:?}"
        );
        let (held, wake_at_ms) = take();
        assert_eq!(held, STREAMS - 5);
        assert!(
            wake_at_ms.is_some_and(|at_ms| at_ms <= 2_000),
            "{wake_at_ms:?}"
        );
        let (held, wake_at_ms) = take();
        assert_eq!((held, wake_at_ms), (0, None));
    }

    #[tokio::test]
    async fn a_connection_that_returns_to_http_between_turns_wakes_the_shard() {
        let shared = shared(Clock::manual(0), 1);
        let (shard, _clients) = shard_of(1, shared);
        let mut turns = Turns::new(&shard);
        while turns.take(&shard, 0) {}
        Turns::wake_at_ms(&shard, 0, None);
        let is_woken = async || {
            tokio::select! {
                biased;
                () = turns.rearmed.notified() => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(!is_woken().await);
        let end = crate::wire::End::Disconnected;
        Connection::new(&mut shard.borrow_mut().connections, 0).end(end, None);
        assert!(is_woken().await);
        assert_eq!(shard.borrow_mut().connections.take_returned().len(), 1);
    }

    #[tokio::test]
    async fn a_timer_that_is_armed_for_an_earlier_time_wakes_the_shard() {
        let shared = shared(Clock::manual(0), 1);
        let (shard, _clients) = shard_of(1, shared);
        let mut turns = Turns::new(&shard);
        while turns.take(&shard, 0) {}
        Turns::wake_at_ms(&shard, 0, None);
        let is_woken = async |due| {
            shard.borrow_mut().connections.arm(0, due);
            tokio::select! {
                biased;
                () = turns.rearmed.notified() => true,
                () = std::future::ready(()) => false,
            }
        };
        let due = shard.borrow_mut().connections.next_tick().unwrap();
        assert!(!is_woken(due.plus(1)).await);
        assert!(!is_woken(due).await);
        assert!(is_woken(due.minus(1)).await);
    }
}
