//! The shard threads. This module starts them, runs their loop, and ends them. Each turn of the loop gives
//! sockets, timers and deliveries a slice each.
//!
//! **Descriptors.** A tokio waker writes to an eventfd *number*, and it does so from another thread. With
//! `fd_tables = "per-shard"`, each thread has its own descriptor table. So [`Starter::new`] creates every
//! runtime, eventfd, epoll and listener before the first thread unshares its table. Each table is then a
//! copy with the same numbers. Sockets that are created later belong to types that are not `Send`. One that a shard
//! gets from the control side comes over its passage.
//! [`Shards::self_test`] wakes every shard from every thread before anything is served.

#![allow(clippy::indexing_slicing)] // each shard's number has metrics and an inbox

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::acceptor::{Accepted, StartHandshake, accept};
use super::connections::Sleep;
use super::handover::{Passages, enter, leave};
use super::poller::Poller;
use super::shard::Shard;
use super::shared::Shared;
use super::wheel::{Tick, start_of};
use crate::clock::Clock;
use crate::config::FdTables;
use crate::hub::{Command, Inbox, Move};
use crate::metrics::ShardMetrics;
use crate::net::{Acceptor, Handshakes, Listener, Passage, PassageExit, passage};
use crate::sys;

/// The longest time for one shard's part of the self-test. A wake-up takes microseconds, and a lost one
/// never arrives.
const SELF_TEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The time without new handshakes and without changes in the number of streams, after which a thread's
/// free memory is returned to the kernel.
const COLLECT_AFTER_MS: u64 = 2_000;

/// The number of rounds after which a runtime that is busy with handshakes looks for new connections and
/// input. Each round polls up to 61 tasks. With tokio's default of 61 rounds, clients that pipeline requests
/// would delay new clients by a second.
const EVENT_INTERVAL: u32 = 8;

/// Everything that a shard thread needs, created before any thread runs.
#[derive(Debug)]
pub(crate) struct Starter {
    number: u16,
    runtime: Runtime,
    poller: Poller,
    acceptors: Vec<Acceptor>,
    exit: PassageExit,
}

/// The running shards.
#[derive(Debug)]
pub(crate) struct Shards {
    shared: Shared,
    passages: Passages,
    /// Each running thread holds a receiver.
    running: watch::Sender<()>,
}

/// The reason why the shards did not start.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages document the variants
pub enum StartError {
    #[error("cannot start a shard: {0}")]
    Io(#[from] io::Error),
    #[error(
        "shard {0} cannot be woken from the other threads; set fd_tables = \"shared\" and report this"
    )]
    Deaf(usize),
}

impl Starter {
    /// Creates the shard's runtime, epoll and acceptors, and the passage into its table.
    ///
    /// # Errors
    /// If the kernel does not create one of them.
    pub(crate) fn new(
        number: u16,
        listeners: Vec<Listener>,
    ) -> Result<(Self, Passage), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build()?;
        let context = runtime.enter();
        let poller = Poller::new()?;
        let acceptors = listeners
            .into_iter()
            .map(Acceptor::new)
            .collect::<io::Result<_>>()?;
        drop(context);
        let (passage, exit) = passage()?;
        let starter = Self {
            number,
            runtime,
            poller,
            acceptors,
            exit,
        };
        Ok((starter, passage))
    }

    fn run(
        self,
        shared: Shared,
        fd_tables: FdTables,
        unneeded: &[RawFd],
        start: impl FnOnce() -> StartHandshake,
    ) -> io::Result<()> {
        sys::block_signals()?;
        if fd_tables == FdTables::PerShard {
            sys::unshare_descriptor_table(unneeded)?;
        }
        let local = LocalSet::new();
        let handshakes = Handshakes::new(
            shared.settings.max_handshakes,
            shared.clock.clone(),
            Arc::clone(&shared.metrics),
            self.number,
        );
        let shard = Shard::new(self.number, shared, self.poller);
        let shard = Rc::new(RefCell::new(shard));
        let start = Rc::new(start());
        local.block_on(
            &self.runtime,
            serve(shard, handshakes, self.acceptors, self.exit, start),
        );
        Ok(())
    }
}

impl Shards {
    /// Starts the threads, and returns once each of them has been woken from all others. If the shards have tables of
    /// their own, these have no copies of the descriptors in `unneeded`, which the caller keeps open meanwhile.
    ///
    /// # Errors
    /// [`StartError`]. The process has to exit then, because some threads may be running.
    pub(crate) async fn start(
        starters: Vec<(Starter, Passage)>,
        shared: Shared,
        fd_tables: FdTables,
        mut unneeded: Vec<RawFd>,
        start: impl Fn() -> StartHandshake + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        let running = watch::Sender::new(());
        let (starters, passages): (Vec<_>, Vec<_>) = starters.into_iter().unzip();
        unneeded.extend(passages.iter().map(Passage::as_raw_fd));
        unneeded.extend(starters.iter().map(|starter| starter.exit.as_raw_fd()));
        for starter in starters {
            let shared = shared.clone();
            let start = start.clone();
            let mut unneeded = unneeded.clone();
            let own_exit = starter.exit.as_raw_fd();
            unneeded.retain(|number| *number != own_exit);
            let name = format!("shard-{}", starter.number);
            let runs = running.subscribe();
            std::thread::Builder::new().name(name).spawn(move || {
                let _runs = runs;
                if let Err(error) = starter.run(shared, fd_tables, &unneeded, start) {
                    // The self-test then detects that this shard does not answer.
                    tracing::error!(%error, "a shard did not start");
                }
            })?;
        }
        let passages = Passages::new(Arc::clone(&shared.hub), passages);
        let shards = Self {
            shared,
            passages,
            running,
        };
        shards.self_test().await?;
        Ok(shards)
    }

    /// Starts to accept connections. Until then, they wait in the listeners' queues.
    pub(crate) fn open(&self) {
        self.shared.hub.inboxes().iter().for_each(Inbox::order_open);
    }

    /// The ways of sockets into the shards' tables.
    pub(crate) fn passages(&self) -> &Passages {
        &self.passages
    }

    /// Stops accepting, and ends all streams at `streams_per_s`. Each shard gets a share of the rate in
    /// proportion to its streams.
    pub(crate) fn drain(&self, streams_per_s: u32) {
        let held: Vec<u64> = self
            .shared
            .metrics
            .shards
            .iter()
            .map(ShardMetrics::connected)
            .collect();
        let all = held.iter().sum::<u64>().max(1);
        for (inbox, held) in self.shared.hub.inboxes().iter().zip(held) {
            let share = (u64::from(streams_per_s) * held).div_ceil(all);
            inbox.order_drain(u32::try_from(share).unwrap_or(u32::MAX));
        }
    }

    /// Ends all remaining streams at once.
    pub(crate) fn stop(&self) {
        self.shared.hub.inboxes().iter().for_each(Inbox::order_stop);
    }

    /// Waits until all threads have ended.
    pub(crate) async fn ended(&self) {
        self.running.closed().await;
    }

    /// Waits for `time`, then returns true if every thread has taken a turn meanwhile. Deliveries may still
    /// wait in an inbox, since a long broadcast takes many turns.
    pub(crate) async fn probe(&self, clock: &Clock, time: Duration) -> bool {
        let before: Vec<_> = self.shared.hub.inboxes().iter().map(Inbox::prod).collect();
        clock.sleep(time).await;
        let mut inboxes = self.shared.hub.inboxes().iter().zip(before);
        inboxes.all(|(inbox, before)| inbox.turns() != before)
    }

    async fn self_test(&self) -> Result<(), StartError> {
        for (number, inbox) in self.shared.hub.inboxes().iter().enumerate() {
            let answered = async {
                inbox.ask(|reply| Command::Ping { reply }).await
                    && inbox.ask(|reply| Command::PingOthers { reply }).await
            };
            // Measured in real time even if the server has a manual clock, since wake-ups are real.
            match tokio::time::timeout(SELF_TEST_TIMEOUT, answered).await {
                Ok(true) => {}
                _ => return Err(StartError::Deaf(number)),
            }
        }
        Ok(())
    }
}

/// Runs a shard: accepts connections from [`Shards::open`] until the drain, and returns after the last stream
/// has ended.
async fn serve(
    shard: Rc<RefCell<Shard>>,
    handshakes: Rc<Handshakes>,
    acceptors: Vec<Acceptor>,
    exit: PassageExit,
    start: Rc<StartHandshake>,
) {
    let shared = shard.borrow().shared().clone();
    let number = shard.borrow().number();
    let mut closed = Some(acceptors);
    let may_accept = watch::Sender::new(false);
    let mut accepting: Option<Vec<_>> = None;
    let mut turn = Turn::new(&shard);
    let mut collect_at_ms = None;
    let mut seen_activity = (0, 0);
    loop {
        // One clock reading per turn. Everything is either due by it or counted for the next wake-up.
        let now_ms = shared.clock.now_ms();
        shard.borrow_mut().connections.exits.room = handshakes.room_for_returned();
        let is_busy = turn.take(&shard, now_ms);
        give_back(&shard, &handshakes, &start);
        // What was given back is served already, and may have work for the next turn.
        let is_busy = is_busy || shard.borrow().connections.has_work();
        let is_open = shared.hub.inbox(number).is_open();
        may_accept.send_if_modified(|before| std::mem::replace(before, is_open) != is_open);
        move_streams(&shard, &exit);
        if is_open && let Some(acceptors) = closed.take() {
            let accept = |acceptor| {
                let (shared, shard) = (shared.clone(), Rc::clone(&shard));
                let (handshakes, start) = (Rc::clone(&handshakes), Rc::clone(&start));
                let may_accept = may_accept.subscribe();
                let accept = accept(acceptor, shared, handshakes, shard, start, may_accept);
                tokio::task::spawn_local(accept)
            };
            accepting = Some(acceptors.into_iter().map(accept).collect());
        }
        if shard.borrow().is_draining() {
            closed = None;
            for task in accepting.take().into_iter().flatten() {
                task.abort();
            }
            // A stop does not wait for requests that may never complete.
            if shard.borrow().len() == 0 && (handshakes.len() == 0 || turn.is_stopped) {
                shared.hub.inbox(number).close();
                return;
            }
        }
        if is_busy {
            tokio::task::yield_now().await;
            continue;
        }
        // Handshakes and ended streams leave memory that can be returned.
        let activity = (handshakes.entered(), shard.borrow().len());
        if activity != seen_activity {
            seen_activity = activity;
            collect_at_ms = Some(now_ms + COLLECT_AFTER_MS);
        } else if collect_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            shard.borrow_mut().release_memory();
            collect_at_ms = None;
        }
        let wake_at_ms = Turn::wake_at_ms(&shard, now_ms, collect_at_ms);
        // Otherwise, a handshake that ends is noticed when memory is collected. A wake-up for each would be a good part of
        // what a connect costs a shard that is not busy.
        let waits_for_handshakes = shard.borrow().is_draining() || collect_at_ms.is_none();
        let handshakes = waits_for_handshakes.then_some(&*handshakes);
        turn.sleep(handshakes, &shared, wake_at_ms).await;
    }
}

/// Starts what was ordered: streams leave for another process, or come from one.
fn move_streams(shard: &Rc<RefCell<Shard>>, exit: &PassageExit) {
    let orders = {
        let shard = shard.borrow();
        shard.shared().hub.inbox(shard.number()).take_moves()
    };
    for order in orders {
        let shard = Rc::clone(shard);
        let socket = exit.take().map(UnixStream::from);
        match order {
            Move::Leave(progress) => {
                shard.borrow_mut().connections.begin_leaving();
                tokio::task::spawn_local(leave(shard, socket, progress));
            }
            Move::Enter(progress) => {
                tokio::task::spawn_local(enter(shard, socket, progress));
            }
        }
    }
}

/// Starts a handshake on each connection whose stream has ended, so that its client can send another request.
fn give_back(shard: &Rc<RefCell<Shard>>, handshakes: &Rc<Handshakes>, start: &Rc<StartHandshake>) {
    let (returned, is_draining) = {
        let mut shard = shard.borrow_mut();
        (shard.connections.take_returned(), shard.is_draining())
    };
    for connection in returned {
        let room = if connection.is_taken_in {
            handshakes.room_for_taken_in()
        } else {
            handshakes.room_for_returned()
        };
        if is_draining || room == 0 {
            if connection.is_taken_in {
                tracing::debug!("no room for a connection of the other process");
            }
            connection.close();
            continue;
        }
        match connection.reopen() {
            Ok((socket, preface, earlier)) => {
                let handshake = handshakes.enter(earlier.named.or(socket.peer_ip()));
                let accepted = Accepted {
                    socket,
                    handshake,
                    preface,
                    earlier: Some(earlier),
                };
                start(accepted, shard);
            }
            Err(error) => tracing::debug!(%error, "a connection was gone after its stream"),
        }
    }
}

/// The turns of the shard's loop, and the sleep after each.
struct Turn {
    number: u16,
    poller: Rc<Poller>,
    rearmed: Rc<tokio::sync::Notify>,
    happened: Vec<super::poller::Readiness>,
    is_stopped: bool,
}

impl Turn {
    fn new(shard: &RefCell<Shard>) -> Self {
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
    fn take(&mut self, shard: &RefCell<Shard>, now_ms: u64) -> bool {
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
    fn wake_at_ms(shard: &RefCell<Shard>, now_ms: u64, collect_at_ms: Option<u64>) -> Option<u64> {
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
    async fn sleep(
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
    use super::*;
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
        let mut turn = Turn::new(&shard);
        let mut take = || {
            let now_ms = clock.now_ms();
            while turn.take(&shard, now_ms) {}
            // The clock moves between the turn and the sleep, and not during the sleep.
            clock.advance(Duration::from_secs(1));
            let wake_at_ms = Turn::wake_at_ms(&shard, now_ms, None);
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
        let mut turn = Turn::new(&shard);
        while turn.take(&shard, 0) {}
        Turn::wake_at_ms(&shard, 0, None);
        let is_woken = async || {
            tokio::select! {
                biased;
                () = turn.rearmed.notified() => true,
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
    async fn a_shard_that_takes_no_turn_fails_the_probe() {
        let clock = Clock::manual(0);
        let shared = shared(clock.clone(), 2);
        let shards = Shards {
            passages: Passages::new(Arc::clone(&shared.hub), Vec::new()),
            shared,
            running: watch::Sender::new(()),
        };
        let probe = async |taking_turns: &[u16]| {
            let time = Duration::from_secs(1);
            let (is_passed, ()) = tokio::join!(shards.probe(&clock, time), async {
                for number in taking_turns {
                    shards.shared.hub.inbox(*number).note_turn();
                }
                clock.advance(time);
            });
            is_passed
        };
        assert!(probe(&[0, 1]).await);
        assert!(!probe(&[0]).await);
        assert!(!probe(&[]).await);
    }
}
