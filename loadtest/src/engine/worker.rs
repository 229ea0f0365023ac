//! A load thread: opens connections within its limits, reads, and counts.
//!
//! Sockets are registered once, edge-triggered, and read until a short read or EAGAIN. The arrival time is
//! taken after each `recv` instead of once per wake-up, so that it includes the wait behind other sockets.
//! [`ready`] handles sockets that are ready, [`reply`] sends pongs and close frames.

mod ready;
mod reply;

use std::collections::{HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use slab::Slab;

use super::churn::Departures;
use super::conn::{Conn, Identity, Phase};
use super::connect::{Pace, connect};
use super::links::Links;
use super::queue::Queue;
use super::source::Sources;
use super::tally::Tally;
use super::unsent::Unsent;
use super::window::Window;
use super::{Command, Limits, Live, Target, share};
use crate::clock;
use crate::parse::sse::Block;
use crate::websocket::Replies;

/// Identifies the eventfd in `epoll_data`; no slab key is that large.
const WAKE: u64 = u64::MAX;
/// Events taken from epoll in one call.
const EVENTS_PER_WAIT: usize = 512;
/// Connects started before the thread checks its sockets again.
const OPENS_PER_TURN: u32 = 32;
/// The pause between checks of the clock while there are connects or timeouts to handle.
const TURN: Duration = Duration::from_millis(2);
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// The receive buffer of a client that never reads. It is small, so that the server soon notices.
const DEAF_BUFFER_BYTES: usize = 4 * 1024;

/// A load thread's state.
#[derive(Debug)]
pub(super) struct Worker {
    target: Target,
    epoll: OwnedFd,
    inbox: Receiver<Command>,
    wake: Arc<OwnedFd>,
    live: Arc<Live>,
    conns: Slab<Conn>,
    /// Their TLS state, if they use TLS.
    links: Option<Links>,
    /// Replies that wait for a writable socket, by key.
    unsent: HashMap<usize, Unsent>,
    sources: Sources,
    queue: Queue,
    /// Disconnected clients that are to reconnect.
    cut: Vec<Identity>,
    churn: Departures,
    /// True if clients that never read discard their input, to see whether they were disconnected.
    hearing: bool,
    limits: Limits,
    /// Handshakes in order of their start: slab key, and the time that identifies a reused key.
    handshakes: VecDeque<(u32, u32)>,
    in_flight: u32,
    max_in_flight: u32,
    handshake_ms: u32,
    pace: Pace,
    start_ns: u64,
    tally: Tally,
    totals: Totals,
    scratch: Block,
    /// The replies of the connection that is being read.
    replies: Replies,
    request: String,
    outgoing: Vec<u8>,
}

#[derive(Debug, Default)]
struct Totals {
    open: u64,
    opened: u64,
    failed: u64,
    lost: u64,
    dropped: u64,
}

/// How a connection ended.
#[derive(Debug)]
enum Gone {
    /// The other side closed it, or it broke.
    Because(String),
    /// The server closed a client that never reads.
    Dropped,
    /// The load closed it.
    Cut,
}

impl Worker {
    /// The worker with this `index`, with a reserved slab and an epoll. Call this in its thread, which has
    /// its own descriptor table.
    pub(super) fn new(
        index: u32,
        target: Target,
        limits: Limits,
        window: Window,
        inbox: Receiver<Command>,
        wake: Arc<OwnedFd>,
        live: Arc<Live>,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        // One more, because two ramps may each round up.
        let connections = limits.connections.div_ceil(limits.threads) + 1;
        let interval = limits
            .rate
            .map(|rate| Duration::from_secs_f64(f64::from(limits.threads) / rate));
        Ok(Self {
            sources: Sources::new(&target.origin, index, limits.threads, connections),
            links: target.nodes.secure().then(|| {
                let clients = target.nodes.iter().map(|node| node.tls.clone());
                let answer = target.nodes.by_websocket();
                Links::new(clients.collect(), connections as usize, answer)
            }),
            unsent: HashMap::new(),
            tally: Tally::new(window, target.nodes.count()),
            target,
            epoll,
            inbox,
            wake,
            live,
            conns: Slab::with_capacity(connections as usize),
            queue: Queue::default(),
            cut: Vec::new(),
            churn: Departures::default(),
            hearing: false,
            handshakes: VecDeque::new(),
            in_flight: 0,
            max_in_flight: share(limits.in_flight, limits.threads, index),
            handshake_ms: u32::try_from(limits.handshake.as_millis())
                .context("--handshake-timeout")?,
            pace: Pace::new(interval.unwrap_or_default(), TURN),
            limits,
            start_ns: clock::now_ns(),
            totals: Totals::default(),
            scratch: Block::default(),
            replies: Replies::default(),
            request: String::with_capacity(1024),
            outgoing: Vec::with_capacity(2048),
        })
    }

    /// Runs until it is stopped.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        let mut buffer = vec![MaybeUninit::uninit(); READ_BUFFER_BYTES];
        loop {
            self.wait(&mut events);
            for event in &events {
                match event.data.u64() {
                    WAKE => drop(rustix::io::read(&self.wake, &mut [0; 8])),
                    // A key identifies one connection within a batch: each socket occurs once in it, and keys
                    // are reused only after it.
                    key => self.ready(
                        usize::try_from(key).expect("our own key"),
                        event.flags,
                        &mut buffer,
                    ),
                }
            }
            while let Ok(command) = self.inbox.try_recv() {
                if let Command::Stop = command {
                    return self.close_all();
                }
                self.obey(command);
            }
            self.churn_some();
            self.open_some();
            self.expire_handshakes();
            self.publish();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open {
                first,
                stride,
                count,
            } => {
                self.queue.add(first, stride, count);
            }
            Command::CloseAll(done) => {
                self.close_all();
                self.cut.clear();
                self.publish();
                let _ = done.send(()); // the caller may have given up
            }
            Command::CutAll(done) => {
                let streaming = self.conns.iter().filter(|(_, conn)| conn.phase.streams());
                let nodes = &self.target.nodes;
                let cut: Vec<Identity> = streaming.map(|(_, conn)| conn.identity(nodes)).collect();
                self.close_all();
                self.publish();
                let _ = done.send(cut.len()); // as above
                self.cut = cut;
            }
            Command::Reopen => self.queue.add_returning(&mut self.cut),
            Command::Hear(done) => {
                self.hearing = true;
                self.hear_all();
                let _ = done.send(()); // as above
            }
            Command::Churn { interval } => self.churn = Departures::new(interval, TURN),
            Command::Collect(reply) => {
                self.tally.tls = self.links.as_ref().map(Links::counts).unwrap_or_default();
                drop(reply.send(self.tally.clone()));
            }
            Command::Stop => {}
        }
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>) {
        events.clear();
        let busy = !self.queue.is_empty() || self.in_flight > 0 || self.churn.is_on();
        let turn = Timespec::try_from(TURN).expect("a constant of some milliseconds");
        let timeout = busy.then_some(&turn);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait on our own epoll: {error}"),
        }
    }

    fn open_some(&mut self) {
        for _ in 0..OPENS_PER_TURN {
            if self.queue.is_empty()
                || self.in_flight >= self.max_in_flight
                || !self.pace.may_open()
            {
                return;
            }
            let Some(identity) = self.queue.pop(&self.target.nodes) else {
                return;
            };
            if let Err(error) = self.open(identity) {
                self.totals.failed += 1;
                self.tally.on(identity.node).failed += 1;
                self.tally.failed(format!("connect: {error}"));
            }
        }
    }

    /// Closes some streams and replaces each with a new client.
    fn churn_some(&mut self) {
        for _ in 0..OPENS_PER_TURN {
            let Some(key) = self.churn.next(&self.conns) else {
                return;
            };
            let number = self.conns[key].number;
            self.gone(key, Gone::Cut);
            self.queue.add_newcomer(number, &self.target.nodes);
        }
    }

    fn open(&mut self, identity: Identity) -> Result<()> {
        let (source, from) = self
            .sources
            .take()
            .ok_or_else(|| anyhow!("no source address has a free port left"))?;
        let deaf = self.limits.is_deaf(identity.number);
        let receive_buffer = deaf.then_some(DEAF_BUFFER_BYTES);
        let socket = connect(
            self.target.nodes.get(identity.node).address,
            from,
            receive_buffer,
        )
        .inspect_err(|_| self.sources.give_back(source))?;
        let opened_ms = self.now_ms();
        let slot = self.conns.vacant_entry();
        let key = u32::try_from(slot.key()).expect("fewer connections than descriptors");
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(u64::from(key)),
            flags,
        ) {
            self.sources.give_back(source);
            return Err(error.into());
        }
        slot.insert(Conn::new(socket, opened_ms, source, identity));
        self.in_flight += 1;
        self.handshakes.push_back((key, opened_ms));
        Ok(())
    }

    fn gone(&mut self, key: usize, how: Gone) {
        let conn = self.conns.remove(key);
        self.end_link(key);
        self.unsent.remove(&key);
        self.sources.give_back(conn.source);
        let streamed = conn.phase.streams();
        let node = self.tally.on(conn.node);
        if streamed {
            self.totals.open -= 1;
            node.open -= 1;
        } else {
            self.in_flight -= 1;
        }
        match how {
            Gone::Cut => {}
            Gone::Dropped => self.totals.dropped += 1,
            Gone::Because(reason) => {
                let (total, of_node) = if streamed {
                    (&mut self.totals.lost, &mut node.lost)
                } else {
                    (&mut self.totals.failed, &mut node.failed)
                };
                *total += 1;
                *of_node += 1;
                self.tally.failed(reason);
            }
        }
    }

    fn hear_all(&mut self) {
        let mut buffer = vec![MaybeUninit::uninit(); READ_BUFFER_BYTES];
        let deaf = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.phase == Phase::Deaf);
        let keys: Vec<usize> = deaf.map(|(key, _)| key).collect();
        for key in keys {
            if self.discard(key, &mut buffer) {
                self.gone(key, Gone::Dropped);
            }
        }
    }

    fn close_all(&mut self) {
        self.queue = Queue::default();
        self.handshakes.clear();
        let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.gone(key, Gone::Cut);
        }
        debug_assert!(self.in_flight == 0 && self.totals.open == 0);
    }

    fn expire_handshakes(&mut self) {
        let now_ms = self.now_ms();
        while let Some(&(key, opened_ms)) = self.handshakes.front() {
            let key = key as usize;
            let waits = self
                .conns
                .get(key)
                .is_some_and(|conn| conn.opened_ms == opened_ms && !conn.phase.streams());
            if waits {
                if now_ms - opened_ms < self.handshake_ms {
                    return;
                }
                self.gone(key, Gone::Because("handshake timed out".to_owned()));
            }
            self.handshakes.pop_front();
        }
    }

    fn publish(&self) {
        let live = &self.live;
        live.open.store(self.totals.open, Ordering::Relaxed);
        live.opened.store(self.totals.opened, Ordering::Relaxed);
        live.failed.store(self.totals.failed, Ordering::Relaxed);
        live.lost.store(self.totals.lost, Ordering::Relaxed);
        live.dropped.store(self.totals.dropped, Ordering::Relaxed);
        live.heartbeats
            .store(self.tally.heartbeats, Ordering::Relaxed);
        live.received
            .store(self.tally.latency_ns.len(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u32 {
        u32::try_from((clock::now_ns() - self.start_ns) / 1_000_000)
            .expect("a run is shorter than 49 days")
    }
}
