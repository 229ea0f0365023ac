//! What other threads ask of a shard: one FIFO, so that whatever is asked for one client happens
//! to it in that order.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::connection::ConnectionId;
use super::outgoing::Outgoing;
use crate::metrics::Transport;
use crate::sys::Unacknowledged;

/// A request to a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send an entry.
    Deliver {
        outgoing: Arc<Outgoing>,
        to: Recipients,
    },
    /// End the connections' streams.
    End {
        connections: Vec<ConnectionId>,
        end: Ending,
    },
    /// Say who the connections are.
    Describe {
        connections: Vec<ConnectionId>,
        reply: oneshot::Sender<Vec<Description>>,
    },
    /// Close those of the connections that are gone, and tell of the others.
    Look {
        connections: Vec<ConnectionId>,
        look: Look,
        reply: oneshot::Sender<Vec<Seen>>,
    },
    /// Close the connections, which do not answer, and say which were there.
    Drop {
        connections: Vec<ConnectionId>,
        reply: oneshot::Sender<Vec<ConnectionId>>,
    },
    /// Answer, to show that this thread can be woken.
    Ping { reply: oneshot::Sender<()> },
    /// Wake all the other shards and answer when they did.
    PingOthers { reply: oneshot::Sender<()> },
}

impl Command {
    /// Whether an entry of the log is on its way with it.
    pub(crate) fn has_entry(&self) -> bool {
        match self {
            Self::Deliver { .. } => true,
            Self::End { end, .. } => matches!(end, Ending::LoggedOut(_)),
            Self::Describe { .. }
            | Self::Look { .. }
            | Self::Drop { .. }
            | Self::Ping { .. }
            | Self::PingOthers { .. } => false,
        }
    }
}

/// Why another thread ends streams.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Their session is over, as this entry says.
    LoggedOut(Arc<Outgoing>),
    /// Newer streams took their places.
    Evicted,
    /// An operator asked for it.
    Disconnected,
}

/// Which of a shard's clients get an entry.
#[derive(Debug)]
pub(crate) enum Recipients {
    Everyone,
    /// Those who asked for the entry's topic.
    Subscribers,
    Connections(Vec<ConnectionId>),
}

/// A kernel that has acknowledged something this recently is there. Its clock ticks every few
/// milliseconds, so that shorter times cannot be told apart.
const RECENTLY_MS: u32 = 50;

/// What to do to connections besides looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Only,
    Heartbeat,
}

/// A connection that is still there, as far as its kernel knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Which it is.
    pub(crate) connection: ConnectionId,
    /// What is on the way to it; `None` where that says nothing.
    pub(crate) in_flight: Option<Unacknowledged>,
}

impl Seen {
    /// Whether it has acknowledged nothing since it was seen as `before`.
    pub(crate) fn is_silent_since(&self, before: &Self) -> bool {
        let (Some(now), Some(before)) = (self.in_flight, before.in_flight) else {
            return false;
        };
        now.packets > 0
            && before.last_ack_ms >= RECENTLY_MS
            && now.last_ack_ms >= before.last_ack_ms
    }
}

/// A connection as an operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// Which it is; unique while the server runs.
    pub(crate) connection: ConnectionId,
    /// When it came, in Unix seconds.
    pub(crate) since_s: u32,
    /// How it is connected.
    pub(crate) transport: Transport,
    /// Where it comes from; `None` for a unix socket's nameless peer.
    pub(crate) remote: Option<IpAddr>,
    /// The session of its token.
    pub(crate) session: Option<Box<str>>,
    /// The topics it gets.
    pub(crate) topics: Vec<CompactString>,
}

/// The other end of a shard. What waits in it is bounded by the log's window for deliveries, and
/// by the connections of the admin side and the handshakes for the rest.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    /// Whether connections are accepted.
    is_open: AtomicBool,
    /// Streams to end a second; 0 while there is no drain.
    drain_per_s: AtomicU32,
    is_stopped: AtomicBool,
    /// Turns that the shard has taken; it alone counts.
    turns: AtomicU64,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    commands: VecDeque<Command>,
    /// The shard has ended: nobody will answer.
    is_closed: bool,
}

impl Inbox {
    /// Queues a command and wakes the shard. One for a shard that has ended is dropped, and so whoever
    /// waits for its reply waits no longer.
    pub(crate) fn push(&self, command: Command) {
        let mut queue = self.queue.lock();
        if !queue.is_closed {
            queue.commands.push_back(command);
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Queues commands, in order, and wakes the shard once.
    pub(crate) fn push_all(&self, commands: &mut Vec<Command>) {
        if !commands.is_empty() {
            let mut queue = self.queue.lock();
            let commands = commands.drain(..);
            if !queue.is_closed {
                queue.commands.extend(commands);
            }
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Orders the shard to accept connections.
    pub(crate) fn order_open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.filled.notify_one();
    }

    /// Orders the shard to accept nothing more and to end its streams, so many a second. It does
    /// not wait behind deliveries: servers are restarted when those are late.
    pub(crate) fn order_drain(&self, streams_per_s: u32) {
        self.drain_per_s
            .store(streams_per_s.max(1), Ordering::Relaxed);
        self.filled.notify_one();
    }

    /// Orders the shard to end everything now.
    pub(crate) fn order_stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.filled.notify_one();
    }

    /// Wakes the shard, so that it takes a turn, and says how many it had taken.
    pub(crate) fn prod(&self) -> u64 {
        let turns = self.turns();
        self.filled.notify_one();
        turns
    }

    /// How many turns the shard has taken.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// For the shard: counts a turn.
    pub(crate) fn note_turn(&self) {
        self.turns.store(self.turns() + 1, Ordering::Relaxed);
    }

    /// For the shard: whether to accept connections.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// For the shard: the rate of a drain, if one was ordered.
    pub(crate) fn drain_order(&self) -> Option<u32> {
        Some(self.drain_per_s.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// For the shard: whether to end everything now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// For the shard: whether an entry of the log is queued.
    pub(crate) fn has_entries(&self) -> bool {
        self.queue.lock().commands.iter().any(Command::has_entry)
    }

    /// For the shard: swaps what is queued for an empty queue.
    pub(crate) fn take(&self, empty: &mut VecDeque<Command>) {
        std::mem::swap(&mut self.queue.lock().commands, empty);
    }

    /// For the shard: it ends, and takes nothing more.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        queue.commands = VecDeque::new();
    }

    /// Waits until something may be queued or ordered. For the shard.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}
