//! The client engine: a few threads, each with an epoll and a slab of small connections.
//!
//! Every thread owns its sockets, source addresses, counts and descriptor table, so a process can hold its
//! limit of connections per thread. The engine sends commands through a channel and an eventfd, and reads
//! counts that each thread publishes once per pass. No call blocks for longer than its time limit.

mod churn;
mod conn;
mod connect;
mod links;
mod nodes;
mod queue;
mod source;
mod tally;
mod target;
mod unsent;
mod way;
mod window;
mod worker;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{EventfdFlags, eventfd};

pub(crate) use nodes::{Node, Nodes};
pub(crate) use source::Origin;
pub(crate) use tally::Tally;
pub(crate) use target::{AuthStyle, Limits, Target};
pub(crate) use way::Way;
pub(crate) use window::Window;

use crate::clock::{self, Deadline};
use crate::sys;
use worker::Worker;

/// How long a thread may take to answer. Closing all its connections takes longest.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Running totals of all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Streams at present.
    pub(crate) open: u64,
    /// Streams that ever began.
    pub(crate) opened: u64,
    /// Connections that never became a stream.
    pub(crate) failed: u64,
    /// Streams that the other side ended or that broke.
    pub(crate) lost: u64,
    /// Streams without a reader that the other side ended.
    pub(crate) dropped: u64,
    pub(crate) heartbeats: u64,
    /// Distinct (event, client) pairs.
    pub(crate) received: u64,
}

/// The running threads. Dropping it closes every connection and joins them.
#[derive(Debug)]
pub(crate) struct Engine {
    workers: Vec<Handle>,
    limits: Limits,
    /// Connects requested so far.
    ordered: u64,
    /// Streams closed by [`Engine::cut_all`] whose reconnect has not been requested.
    cut: u64,
}

#[derive(Debug)]
struct Handle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    live: Arc<Live>,
    thread: Option<JoinHandle<()>>,
}

/// A command of the engine to a thread.
#[derive(Debug)]
enum Command {
    /// Open connections numbered `first`, `first + stride`, …
    Open {
        first: u32,
        stride: u32,
        count: u32,
    },
    /// Close every connection with an RST, and answer when done.
    CloseAll(Sender<()>),
    /// The same, but keep the clients that had a stream, and answer with their number.
    CutAll(Sender<usize>),
    /// Reconnect those clients, each from its last event.
    Reopen,
    /// Let clients that never read discard their input, to see whether their streams have ended.
    Hear(Sender<()>),
    /// Close a stream per `interval` and open another instead; zero stops this.
    Churn {
        interval: Duration,
    },
    /// Return the counts so far.
    Collect(Sender<Tally>),
    Stop,
}

/// The published counts of a thread, on a cache line of their own so that threads do not share one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Live {
    open: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    heartbeats: AtomicU64,
    received: AtomicU64,
}

impl Engine {
    /// Starts the threads. Fails if the connections exceed descriptors or addresses.
    pub(crate) fn start(target: &Target, limits: &Limits, window: Window) -> Result<Self> {
        check_descriptors(limits)?;
        ensure!(
            limits.in_flight >= limits.threads,
            "--in-flight {}: each of the {} threads needs at least one handshake in flight",
            limits.in_flight,
            limits.threads,
        );
        target.origin.check(limits.connections, limits.threads)?;
        let mut engine = Self {
            workers: Vec::new(),
            limits: limits.clone(),
            ordered: 0,
            cut: 0,
        };
        for index in 0..limits.threads {
            let (commands, inbox) = channel();
            let (started, start) = channel();
            // The handle is its last owner and joins the thread first, so it is closed in the table where it
            // was made.
            let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
            let live = Arc::new(Live::default());
            let (target, limits) = (target.clone(), limits.clone());
            let (its_wake, its_live) = (Arc::clone(&wake), Arc::clone(&live));
            let thread = std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || {
                    let worker = sys::own_descriptor_table(its_wake.as_fd())
                        .context("a descriptor table of its own")
                        .and_then(|()| {
                            Worker::new(index, target, limits, window, inbox, its_wake, its_live)
                        });
                    match worker {
                        Ok(worker) => {
                            let _ = started.send(Ok(())); // without a receiver, the next command is to stop
                            worker.run();
                        }
                        Err(error) => drop(started.send(Err(error))),
                    }
                })
                .context("starting a load thread")?;
            engine.workers.push(Handle {
                commands,
                wake,
                live,
                thread: Some(thread),
            });
            start.recv().context("a load thread ended at its start")??;
        }
        Ok(engine)
    }

    /// Opens connections until `connections` have been requested since the last [`Engine::close_all`], and
    /// waits until each is a stream or has failed. Returns the seconds it took.
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
        self.wait_for_ordered(more, watch)
            .with_context(|| format!("opening {connections} connections"))
    }

    /// Waits until every connect has led to a stream or failed; returns the seconds it took.
    fn wait_for_ordered(&self, more: u32, watch: &mut dyn FnMut(Counts)) -> Result<f64> {
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
                    "timed out: {} streams open, {} connections failed",
                    counts.open,
                    counts.failed
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Closes every connection with an RST, and returns when all are gone.
    pub(crate) fn close_all(&mut self) -> Result<()> {
        self.cut = 0;
        self.ask(Command::CloseAll).map(drop)
    }

    /// Closes every connection with an RST. Returns the number of streams, which can be reconnected.
    pub(crate) fn cut_all(&mut self) -> Result<u64> {
        let cut = self.ask(Command::CutAll)?;
        self.cut = cut.into_iter().map(|cut| cut as u64).sum();
        Ok(self.cut)
    }

    /// Reconnects the streams that [`Engine::cut_all`] closed, each with its last event id. `watch` sees the
    /// counts until each is a stream again or has failed. Returns the seconds it took.
    pub(crate) fn reopen(&mut self, watch: &mut dyn FnMut(Counts)) -> Result<f64> {
        let returning = std::mem::take(&mut self.cut);
        self.ordered += returning;
        self.send_all(|| Command::Reopen);
        self.wait_for_ordered(u32::try_from(returning)?, watch)
            .context("reconnecting all clients")
    }

    /// From now on, clients that never read discard their input. Streams that the server has ended then show
    /// up in [`Counts::dropped`].
    pub(crate) fn hear(&mut self) -> Result<()> {
        self.ask(Command::Hear).map(drop)
    }

    /// From now on, `rate` streams per second are closed and replaced.
    pub(crate) fn churn(&mut self, rate: f64) {
        let interval = Duration::from_secs_f64(f64::from(self.limits.threads) / rate);
        self.send_all(|| Command::Churn { interval });
    }

    /// Ends [`Engine::churn`] and waits until every replacement is a stream or has failed.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let interval = Duration::ZERO;
        self.send_all(|| Command::Churn { interval });
        // A thread answers only after it has carried out the command before.
        self.collect()?;
        let limit = Deadline::after(2 * self.limits.handshake);
        let missing = |counts: Counts| {
            let present = counts.open + counts.failed + counts.lost;
            present < u64::from(self.limits.connections)
        };
        while missing(self.counts()) {
            ensure!(
                !limit.passed(),
                "timed out waiting for the handshakes of replacement clients"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn send_all(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            worker.send(command());
        }
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

    /// The current totals.
    pub(crate) fn counts(&self) -> Counts {
        self.workers
            .iter()
            .map(|worker| &worker.live)
            .fold(Counts::default(), |sum, live| Counts {
                open: sum.open + live.open.load(Ordering::Relaxed),
                opened: sum.opened + live.opened.load(Ordering::Relaxed),
                failed: sum.failed + live.failed.load(Ordering::Relaxed),
                lost: sum.lost + live.lost.load(Ordering::Relaxed),
                dropped: sum.dropped + live.dropped.load(Ordering::Relaxed),
                heartbeats: sum.heartbeats + live.heartbeats.load(Ordering::Relaxed),
                received: sum.received + live.received.load(Ordering::Relaxed),
            })
    }

    /// Sends each thread a command with a reply channel, and collects the replies.
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
        replies
            .iter()
            .map(|reply| {
                reply
                    .recv_timeout(ANSWER_LIMIT)
                    .context("a load thread does not respond")
            })
            .collect()
    }

    /// The time limit of a ramp: what the rate requires, or a second per 200 connections without a rate, plus
    /// two handshakes' time.
    fn ramp_limit(&self, connections: u32) -> Duration {
        let rate = self.limits.rate.unwrap_or(f64::INFINITY).clamp(1e-3, 200.0);
        Duration::from_secs_f64(f64::from(connections) / rate) + 2 * self.limits.handshake
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.send_all(|| Command::Stop);
        for thread in self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.thread.take())
        {
            let _ = thread.join(); // its panic was printed when it happened
        }
    }
}

impl Handle {
    fn send(&self, command: Command) {
        // If a thread has ended, an answer is missing or a ramp does not finish.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Fails if a thread's connections exceed its descriptor table.
fn check_descriptors(limits: &Limits) -> Result<()> {
    let may_open = sys::raise_descriptor_limit();
    let each = u64::from(limits.connections.div_ceil(limits.threads)) + sys::SPARE_DESCRIPTORS;
    ensure!(
        each <= may_open,
        "--connections {} over {} threads: {each} descriptors per thread, but the limit is {may_open} (ulimit -Hn): \
         use more --threads or raise the limit",
        limits.connections,
        limits.threads,
    );
    if let Some(files) = sys::file_max() {
        ensure!(
            u64::from(limits.connections) <= files,
            "--connections {}: the machine allows only {files} open files (sysctl fs.file-max)",
            limits.connections,
        );
    }
    Ok(())
}

/// The share of `total` for part `index` of `parts`.
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
