//! The shard threads: their start, their end, and the self-test in between.
//!
//! **Descriptors.** A tokio waker writes to an eventfd *number*, and it does so from another thread. With
//! `fd_tables = "per-shard"`, each thread has its own descriptor table. So [`Starter::new`] creates every
//! runtime, eventfd, epoll and listener before the first thread unshares its table. Each table is then a
//! copy with the same numbers. Sockets that are created later belong to types that are not `Send`. One that a shard
//! gets from the control side comes over its passage.
//! [`Shards::self_test`] wakes every shard from every thread before anything is served.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::acceptor::StartHandshake;
use super::handover::Passages;
use super::poller::Poller;
use super::serve::serve;
use super::shard::Shard;
use super::shared::Shared;
use crate::clock::Clock;
use crate::config::FdTables;
use crate::hub::{Command, Inbox};
use crate::metrics::ShardMetrics;
use crate::net::{Acceptor, Handshakes, Listener, Passage, PassageExit, passage};
use crate::sys;

/// The longest time for one shard's part of the self-test. A wake-up takes microseconds, and a lost one
/// never arrives.
const SELF_TEST_TIMEOUT: Duration = Duration::from_secs(5);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::model::shared;

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
