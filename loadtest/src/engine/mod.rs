//! The client engine: a few threads, an epoll each, a slab of small connections.
//!
//! Every thread owns its sockets, source addresses and counts; the engine sends commands through a
//! channel and an eventfd, and reads counts that each thread publishes once a turn. Nothing here blocks
//! for longer than the limit it is given.

mod conn;
mod connect;
mod source;
mod tally;
mod worker;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{EventfdFlags, eventfd};

pub(crate) use conn::Window;
pub(crate) use tally::Tally;

use crate::clock::{self, Deadline};
use crate::sys;
use crate::token::Minter;
use worker::Worker;

/// Where and how the clients connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The `Host` header.
    pub(crate) host: String,
    /// The path of the stream, perhaps with a query.
    pub(crate) path: String,
    pub(crate) credential: Credential,
}

/// What a client shows.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    None,
    /// A minted token as `?token=`.
    Query(Minter),
    /// A minted token in the `Authorization` header.
    Header(Minter),
}

/// The bounds a run is held to.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) threads: u32,
    /// Connections at one time.
    pub(crate) connections: u32,
    /// Connections not yet streaming at one time.
    pub(crate) in_flight: u32,
    /// Connects a second over all threads.
    pub(crate) rate: Option<f64>,
    /// How long one handshake may take.
    pub(crate) handshake: Duration,
}

/// Running totals, added over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Streaming now.
    pub(crate) open: u64,
    /// Streams that began, ever.
    pub(crate) opened: u64,
    /// Connections that never came to stream.
    pub(crate) failed: u64,
    /// Streams the other side ended or broke.
    pub(crate) lost: u64,
    pub(crate) heartbeats: u64,
    /// Distinct (event, client) pairs.
    pub(crate) received: u64,
}

/// The running threads. Dropping it closes every connection and joins them.
#[derive(Debug)]
pub(crate) struct Engine {
    workers: Vec<Handle>,
    limits: Limits,
    /// Connects ordered so far.
    ordered: u64,
}

#[derive(Debug)]
struct Handle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

/// What the engine tells a thread.
#[derive(Debug)]
enum Command {
    /// Open connections numbered `first`, `first + stride`, …
    Open {
        first: u32,
        stride: u32,
        count: u32,
    },
    /// Cut every connection with an RST; answer when done.
    CloseAll(Sender<()>),
    /// Hand over the counts so far.
    Collect(Sender<Tally>),
    Stop,
}

/// One thread's published counts; a cache line of its own, so that threads do not share one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Live {
    open: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    heartbeats: AtomicU64,
    received: AtomicU64,
}

impl Engine {
    /// Starts the threads. Says so when the connections do not fit this process's descriptors.
    pub(crate) fn start(target: &Target, limits: &Limits, window: Window) -> Result<Self> {
        let may_open = sys::raise_descriptor_limit();
        let needed = u64::from(limits.connections) + sys::SPARE_DESCRIPTORS;
        ensure!(
            needed <= may_open,
            "--connections {}: needs {needed} descriptors, this process may open {may_open} (ulimit -Hn): \
             ask for at most {} or raise the limit",
            limits.connections,
            may_open.saturating_sub(sys::SPARE_DESCRIPTORS),
        );
        let mut engine = Self {
            workers: Vec::new(),
            limits: limits.clone(),
            ordered: 0,
        };
        for index in 0..limits.threads {
            let (commands, inbox) = channel();
            let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
            let live = Arc::new(Live::default());
            let worker = Worker::new(
                target,
                limits,
                window,
                index,
                inbox,
                Arc::clone(&wake),
                Arc::clone(&live),
            )?;
            let thread = std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || worker.run())
                .context("starting a load thread")?;
            engine.workers.push(Handle {
                commands,
                wake,
                live,
                thread: Some(thread),
            });
        }
        Ok(engine)
    }

    /// Opens connections until `connections` have been asked for since the last [`Engine::close_all`],
    /// and waits until each streams or has failed. Returns the seconds it took.
    pub(crate) fn ramp_to(
        &mut self,
        connections: u32,
        watch: &mut dyn FnMut(Counts),
    ) -> Result<f64> {
        let before = self.counts();
        let more = connections.saturating_sub(u32::try_from(before.open)?);
        let stride = self.limits.threads;
        for (index, worker) in (0..).zip(&self.workers) {
            let count = share(more, stride, index);
            let first = u32::try_from(before.open)? + index;
            worker.send(Command::Open {
                first,
                stride,
                count,
            });
        }
        self.ordered += u64::from(more);
        let start_ns = clock::now_ns();
        let limit = Deadline::after(self.ramp_limit(more));
        loop {
            let counts = self.counts();
            watch(counts);
            if counts.opened + counts.failed >= self.ordered {
                return Ok(clock::seconds_between(start_ns, clock::now_ns()));
            }
            if limit.passed() {
                bail!(
                    "the ramp to {connections} did not end: {} stream, {} failed",
                    counts.open,
                    counts.failed
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Cuts every connection with an RST and returns when all are gone.
    pub(crate) fn close_all(&mut self) -> Result<()> {
        self.ask(Command::CloseAll).map(drop)
    }

    /// The merged counts since the start.
    pub(crate) fn collect(&self) -> Result<Tally> {
        let tallies = self.ask(Command::Collect)?;
        let merged = tallies.into_iter().reduce(|mut all, one| {
            all.merge(&one);
            all
        });
        merged.context("an engine has at least one thread")
    }

    /// The totals of this moment.
    pub(crate) fn counts(&self) -> Counts {
        self.workers
            .iter()
            .map(|worker| &worker.live)
            .fold(Counts::default(), |sum, live| Counts {
                open: sum.open + live.open.load(Ordering::Relaxed),
                opened: sum.opened + live.opened.load(Ordering::Relaxed),
                failed: sum.failed + live.failed.load(Ordering::Relaxed),
                lost: sum.lost + live.lost.load(Ordering::Relaxed),
                heartbeats: sum.heartbeats + live.heartbeats.load(Ordering::Relaxed),
                received: sum.received + live.received.load(Ordering::Relaxed),
            })
    }

    /// Sends each thread a command with a reply channel and gathers the replies.
    fn ask<T>(&self, command: impl Fn(Sender<T>) -> Command) -> Result<Vec<T>> {
        let replies: Vec<Receiver<T>> = self
            .workers
            .iter()
            .map(|worker| {
                let (reply, answer) = channel();
                worker.send(command(reply));
                answer
            })
            .collect();
        let wait = Duration::from_secs(30);
        replies
            .iter()
            .map(|reply| {
                reply
                    .recv_timeout(wait)
                    .context("a load thread does not answer")
            })
            .collect()
    }

    /// The longest a ramp may take: what the rate asks for, a second for every 200 without one, and two
    /// handshakes' time.
    fn ramp_limit(&self, connections: u32) -> Duration {
        let rate = self.limits.rate.unwrap_or(f64::INFINITY).clamp(1e-3, 200.0);
        Duration::from_secs_f64(f64::from(connections) / rate) + 2 * self.limits.handshake
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.send(Command::Stop);
        }
        for thread in self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.thread.take())
        {
            let _ = thread.join(); // its panic has been printed where it happened
        }
    }
}

impl Handle {
    fn send(&self, command: Command) {
        // A thread that is gone shows as a missing answer or a ramp that does not end.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// How many of `total` fall to part `index` of `parts`.
fn share(total: u32, parts: u32, index: u32) -> u32 {
    total / parts + u32::from(index < total % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_at_most_one() {
        for (total, parts) in [(0, 1), (1, 2), (15_000, 7), (5, 8)] {
            let shares: Vec<u32> = (0..parts).map(|index| share(total, parts, index)).collect();
            assert_eq!(shares.iter().sum::<u32>(), total);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
