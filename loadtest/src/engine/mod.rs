//! The client engine: a few threads, an epoll each, a slab of small connections.
//!
//! Every thread owns its sockets, source addresses, counts and descriptor table, so that a process holds
//! as many connections as its limit times its threads; the engine sends commands through a channel and an
//! eventfd, and reads counts that each thread publishes once a turn. Nothing here blocks for longer than
//! the limit it is given.

mod churn;
mod conn;
mod connect;
mod links;
mod queue;
mod source;
mod tally;
mod target;
mod unsent;
mod worker;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{EventfdFlags, eventfd};

pub(crate) use conn::Window;
pub(crate) use source::Origin;
pub(crate) use tally::Tally;
pub(crate) use target::{AuthStyle, Limits, Target};

use crate::clock::{self, Deadline};
use crate::sys;
use worker::Worker;

/// How long a thread may take to answer: cutting its every connection is the longest it has to do.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

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
    /// Streams that never read and that the other side ended.
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
    /// Connects ordered so far.
    ordered: u64,
    /// Streams cut by [`Engine::cut_all`] that have not been ordered back.
    cut: u64,
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
    /// The same, but remember who streamed; the answer is how many did.
    CutAll(Sender<usize>),
    /// Open those remembered anew, each where it left off.
    Reopen,
    /// Let those that never read discard what has come, and see whether their streams have ended.
    Hear(Sender<()>),
    /// Cut a stream every `interval` and open another in its place; zero ends that.
    Churn {
        interval: Duration,
    },
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
    dropped: AtomicU64,
    heartbeats: AtomicU64,
    received: AtomicU64,
}

impl Engine {
    /// Starts the threads. Says so when the connections do not fit their descriptors or addresses.
    pub(crate) fn start(target: &Target, limits: &Limits, window: Window) -> Result<Self> {
        check_descriptors(limits)?;
        ensure!(
            limits.in_flight >= limits.threads,
            "--in-flight {}: each of {} threads has to have one handshake under way; ask for as many",
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
            // Its last owner is the handle, which joins the thread first: it is closed in the table it
            // was made in.
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
                            let _ = started.send(Ok(())); // nobody waits: told to stop next
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
        self.wait_for_ordered(more, watch)
            .with_context(|| format!("the ramp to {connections}"))
    }

    /// Waits until every connect ordered has led to a stream or failed; returns the seconds it took.
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
                    "did not end: {} stream, {} failed",
                    counts.open,
                    counts.failed
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Cuts every connection with an RST and returns when all are gone.
    pub(crate) fn close_all(&mut self) -> Result<()> {
        self.cut = 0;
        self.ask(Command::CloseAll).map(drop)
    }

    /// Cuts every connection with an RST; those that streamed can be opened anew. Returns how many.
    pub(crate) fn cut_all(&mut self) -> Result<u64> {
        let cut = self.ask(Command::CutAll)?;
        self.cut = cut.into_iter().map(|cut| cut as u64).sum();
        Ok(self.cut)
    }

    /// Opens what [`Engine::cut_all`] cut, each with the last event id it had. `watch` sees the counts
    /// until each streams again or has failed; returns the seconds it took.
    pub(crate) fn reopen(&mut self, watch: &mut dyn FnMut(Counts)) -> Result<f64> {
        let returning = std::mem::take(&mut self.cut);
        self.ordered += returning;
        self.send_all(|| Command::Reopen);
        self.wait_for_ordered(u32::try_from(returning)?, watch)
            .context("the return of all")
    }

    /// Those that never read discard what has come from now on: streams that the server has ended show as
    /// [`Counts::dropped`] a moment later.
    pub(crate) fn hear(&mut self) -> Result<()> {
        self.ask(Command::Hear).map(drop)
    }

    /// From now on `rate` streams a second are cut, each for a newcomer in its place.
    pub(crate) fn churn(&mut self, rate: f64) {
        let interval = Duration::from_secs_f64(f64::from(self.limits.threads) / rate);
        self.send_all(|| Command::Churn { interval });
    }

    /// Ends [`Engine::churn`] and waits until every newcomer streams or has failed.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let interval = Duration::ZERO;
        self.send_all(|| Command::Churn { interval });
        // An answer comes after the command before it has been obeyed.
        self.collect()?;
        let limit = Deadline::after(2 * self.limits.handshake);
        let missing = |counts: Counts| {
            let present = counts.open + counts.failed + counts.lost;
            present < u64::from(self.limits.connections)
        };
        while missing(self.counts()) {
            ensure!(!limit.passed(), "the newcomers' handshakes do not end");
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
                dropped: sum.dropped + live.dropped.load(Ordering::Relaxed),
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
        replies
            .iter()
            .map(|reply| {
                reply
                    .recv_timeout(ANSWER_LIMIT)
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
        self.send_all(|| Command::Stop);
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

/// Says so when a thread's connections do not fit its descriptor table.
fn check_descriptors(limits: &Limits) -> Result<()> {
    let may_open = sys::raise_descriptor_limit();
    let each = u64::from(limits.connections.div_ceil(limits.threads)) + sys::SPARE_DESCRIPTORS;
    ensure!(
        each <= may_open,
        "--connections {} over {} threads: {each} descriptors a thread, the limit is {may_open} (ulimit -Hn): \
         ask for more --threads or raise the limit",
        limits.connections,
        limits.threads,
    );
    if let Some(files) = sys::file_max() {
        ensure!(
            u64::from(limits.connections) <= files,
            "--connections {}: the machine may open {files} files (sysctl fs.file-max)",
            limits.connections,
        );
    }
    Ok(())
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
