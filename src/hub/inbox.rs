//! Requests of other threads to a shard. They are in one FIFO queue, so that requests for the same client are
//! carried out in order.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

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
    /// End the streams of the connections.
    End {
        connections: Vec<ConnectionId>,
        end: Ending,
    },
    /// End the streams of all users, so that their clients come back.
    EndAll {
        /// The slot to begin with.
        from: u32,
    },
    /// Describe the connections.
    Describe {
        connections: Vec<ConnectionId>,
        reply: oneshot::Sender<Vec<Description>>,
    },
    /// Close the connections that are gone, and report the others.
    Look {
        connections: Vec<ConnectionId>,
        look: Look,
        reply: oneshot::Sender<Vec<Seen>>,
    },
    /// Close connections that do not answer, and return those that were still there.
    Drop {
        connections: Vec<ConnectionId>,
        reply: oneshot::Sender<Vec<ConnectionId>>,
    },
    /// Answer, and carry out nothing more until this hold or a later one is released.
    Hold {
        number: u64,
        reply: oneshot::Sender<()>,
    },
    /// Answer, to show that the shard's thread can be woken.
    Ping { reply: oneshot::Sender<()> },
    /// Wake all other shards, and answer when they have answered.
    PingOthers { reply: oneshot::Sender<()> },
}

impl Command {
    /// Returns true if the command carries an entry of the log.
    pub(crate) fn has_entry(&self) -> bool {
        match self {
            // Until all streams have ended, no heartbeat may carry a position of what they have missed.
            Self::Deliver { .. } | Self::EndAll { .. } => true,
            Self::End { end, .. } => matches!(end, Ending::LoggedOut(_)),
            Self::Describe { .. }
            | Self::Look { .. }
            | Self::Drop { .. }
            | Self::Hold { .. }
            | Self::Ping { .. }
            | Self::PingOthers { .. } => false,
        }
    }
}

/// Streams that move from one process to another. Their socket is for the shard's own descriptor table, so it does not
/// come with the order.
#[derive(Debug)]
pub(crate) enum Move {
    /// Streams leave.
    Leave(Arc<Leaving>),
    /// Streams come.
    Enter(Arc<Entering>),
}

/// How far the streams of one shard, or one part of them, have left.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// The part of the shard's slots whose streams leave here.
    pub(crate) part: SlotPart,
    /// Streams that the other process has.
    pub(crate) moved: AtomicU64,
    /// Streams that were closed, because the other process may have them.
    pub(crate) lost: AtomicU64,
    /// The longest time that a stream was served by neither process, in milliseconds.
    pub(crate) longest_ms: AtomicU64,
    /// The position up to which the shard has carried everything out, while streams may leave.
    pub(crate) position: AtomicU64,
    /// True while a stream may be between the two processes.
    pub(crate) is_under_way: watch::Sender<bool>,
    /// True while every stream that can leave has left.
    pub(crate) is_empty: watch::Sender<bool>,
    /// True if the other process does not take streams any more.
    pub(crate) has_failed: AtomicBool,
}

/// One of several equal parts of a shard's slots.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlotPart {
    /// The number of the part, from 0.
    pub(crate) number: u32,
    /// The number of parts; 0 means one.
    pub(crate) of: u32,
}

impl SlotPart {
    /// Returns true if it has this slot.
    pub(crate) fn contains(self, slot: u32) -> bool {
        slot % self.of.max(1) == self.number
    }
}

/// The streams that have come from another process.
#[derive(Debug, Default)]
pub(crate) struct Entering {
    pub(crate) taken: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Sockets over which more may come. The other process closes them when it ends.
    pub(crate) open_sockets: AtomicUsize,
}

/// The reason why another thread ends streams.
#[derive(Debug)]
pub(crate) enum Ending {
    /// This entry ended their session.
    LoggedOut(Arc<Outgoing>),
    /// Newer streams have taken their places.
    Evicted,
    /// An operator asked for it.
    Disconnected,
}

/// The clients of a shard that get an entry.
#[derive(Debug)]
pub(crate) enum Recipients {
    Everyone,
    /// The clients that subscribe to the entry's topic.
    Subscribers,
    Connections(Vec<ConnectionId>),
}

/// A peer whose kernel has acknowledged something this recently is alive. The kernel's clock ticks every few
/// milliseconds, so shorter times cannot be distinguished.
const RECENTLY_MS: u32 = 50;

/// What to do with connections besides looking at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Only,
    Heartbeat,
}

/// A connection that is still there, as far as the kernel knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The connection's id.
    pub(crate) connection: ConnectionId,
    /// The data on its way to the client; `None` if nothing can be concluded from it.
    pub(crate) in_flight: Option<Unacknowledged>,
}

impl Seen {
    /// Returns true if the client has acknowledged nothing since it was seen as `before`.
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
    /// The connection's id, unique while the server runs.
    pub(crate) connection: ConnectionId,
    /// When the stream began, in Unix seconds.
    pub(crate) since_s: u32,
    /// The transport.
    pub(crate) transport: Transport,
    /// The client's address; `None` for a peer on a unix socket, which has none.
    pub(crate) remote: Option<IpAddr>,
    /// The session of the client's token.
    pub(crate) session: Option<Box<str>>,
    /// The topics that the client subscribes to.
    pub(crate) topics: Vec<CompactString>,
}

impl Description {
    /// Sorts the oldest first: by the second, and on one shard exactly.
    pub(crate) fn age_order(&self) -> (u32, u32) {
        (self.since_s, self.connection.generation())
    }
}

/// The queue and the flags through which other threads reach a shard. Deliveries in the queue are bounded by the
/// log's window, and all else by the connections to the admin side and the handshakes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    /// True if connections are accepted.
    is_open: AtomicBool,
    /// The number of the last hold that was released.
    released: AtomicU64,
    /// True if streams may leave for another process.
    may_leave: watch::Sender<bool>,
    /// Orders to move streams.
    moves: Mutex<Vec<Move>>,
    has_moves: AtomicBool,
    /// Streams to end per second; 0 while there is no drain.
    drain_per_s: AtomicU32,
    is_stopped: AtomicBool,
    /// Turns that the shard has taken. Only the shard changes it.
    turns: AtomicU64,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    commands: VecDeque<Command>,
    /// True if the shard has ended, so that no command will be answered.
    is_closed: bool,
}

impl Inbox {
    /// Queues a command and wakes the shard. If the shard has ended, the command is dropped, so a caller that
    /// waits for its reply stops waiting.
    pub(crate) fn push(&self, command: Command) {
        let mut queue = self.queue.lock();
        if !queue.is_closed {
            queue.commands.push_back(command);
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Queues a command and waits for its answer. Returns false if the shard has ended.
    pub(crate) async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) -> bool {
        let (reply, answer) = oneshot::channel();
        self.push(command(reply));
        answer.await.is_ok()
    }

    /// Queues commands in order, and wakes the shard once.
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

    /// Orders the shard to accept no connections until it is [opened](Inbox::order_open) again.
    pub(crate) fn order_pause(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        self.filled.notify_one();
    }

    /// Lets the shard go on after the hold of this number, and all before it.
    pub(crate) fn order_release(&self, number: u64) {
        self.released.fetch_max(number, Ordering::AcqRel);
        self.filled.notify_one();
    }

    /// Returns true if the hold of this number was released. For the shard.
    pub(crate) fn is_released(&self, number: u64) -> bool {
        self.released.load(Ordering::Acquire) >= number
    }

    /// Orders the shard to move its streams to another process, or to take over those of another process.
    pub(crate) fn order_move(&self, order: Move) {
        self.moves.lock().push(order);
        self.has_moves.store(true, Ordering::Release);
        self.filled.notify_one();
    }

    /// Takes the orders to move streams. For the shard.
    pub(crate) fn take_moves(&self) -> Vec<Move> {
        if !self.has_moves.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.moves.lock())
    }

    /// Lets streams leave, or not.
    pub(crate) fn let_leave(&self, may_leave: bool) {
        self.may_leave.send_replace(may_leave);
    }

    /// Whether streams may leave. For the shard.
    pub(crate) fn may_leave(&self) -> watch::Receiver<bool> {
        self.may_leave.subscribe()
    }

    /// Orders the shard to accept no more connections, and to end its streams at this rate. The order does not
    /// wait behind deliveries, because servers are restarted when deliveries are late.
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

    /// Wakes the shard, so that it takes a turn. Returns the number of turns it had taken before.
    pub(crate) fn prod(&self) -> u64 {
        let turns = self.turns();
        self.filled.notify_one();
        turns
    }

    /// The number of turns that the shard has taken.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Counts a turn. For the shard.
    pub(crate) fn note_turn(&self) {
        self.turns.store(self.turns() + 1, Ordering::Relaxed);
    }

    /// Returns true if connections are to be accepted. For the shard.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// The rate of the drain, if one was ordered. For the shard.
    pub(crate) fn drain_order(&self) -> Option<u32> {
        Some(self.drain_per_s.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Returns true if everything is to end now. For the shard.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Returns true if an entry of the log is queued. For the shard.
    pub(crate) fn has_entries(&self) -> bool {
        self.queue.lock().commands.iter().any(Command::has_entry)
    }

    /// Takes all queued commands, and leaves `empty` in their place. For the shard.
    pub(crate) fn take(&self, empty: &mut VecDeque<Command>) {
        std::mem::swap(&mut self.queue.lock().commands, empty);
    }

    /// Drops all commands, those that are queued and those to come. For the shard, when it ends.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        queue.commands = VecDeque::new();
    }

    /// Waits until there may be a new command or order. For the shard.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}
