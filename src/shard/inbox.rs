//! What other threads ask of a shard: one FIFO, so that whatever is asked for one client happens
//! to it in that order.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::table::SlotRef;
use crate::directory::ConnectionRef;
use crate::frame::Frame;
use crate::log::Entry;
use crate::metrics::{DisconnectReason, Transport};

/// Deliveries that may wait for one shard before the dispatcher waits for it: a second of
/// unicast at full speed.
pub(crate) const MAX_WAITING: usize = 65_536;

/// A request to a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send an entry's frame.
    Deliver { entry: Arc<Entry>, to: Recipients },
    /// Send a last frame, where there is one, and end.
    End {
        tenants: Vec<SlotRef>,
        frame: Option<Frame>,
        reason: DisconnectReason,
        /// The entry that the frame is of, for its measure of delivery.
        entry: Option<Arc<Entry>>,
    },
    /// Say who the tenants are.
    Describe {
        tenants: Vec<SlotRef>,
        reply: oneshot::Sender<Vec<Description>>,
    },
    /// Answer, to show that this thread can be woken.
    Ping { reply: oneshot::Sender<()> },
    /// Wake all the other shards and answer when they did.
    PingOthers { reply: oneshot::Sender<()> },
    /// End all streams, this many a second, and accept none.
    Drain { streams_per_s: u32 },
    /// End all streams now.
    Stop,
}

/// Which of a shard's clients get an entry.
#[derive(Debug)]
pub(crate) enum Recipients {
    Everyone,
    /// Those who asked for the entry's topic.
    Subscribers,
    Tenants(Vec<SlotRef>),
}

/// A connection as an operator sees it.
#[derive(Clone, Debug)]
pub struct Description {
    /// Which it is; unique while the server runs.
    pub connection: ConnectionRef,
    /// When it came, in Unix seconds.
    pub since_s: u32,
    /// How it is connected.
    pub transport: Transport,
    /// Where it comes from; `None` for a unix socket's nameless peer.
    pub remote: Option<IpAddr>,
    /// The session of its token.
    pub session: Option<Box<str>>,
    /// The topics it gets.
    pub topics: Vec<CompactString>,
}

/// The other end of a shard.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<VecDeque<Command>>,
    waiting: AtomicUsize,
    filled: Notify,
    emptied: Notify,
}

impl Inbox {
    /// Queues a command and wakes the shard.
    pub(crate) fn push(&self, command: Command) {
        self.push_all(&mut vec![command]);
    }

    /// Queues commands, in order, and wakes the shard once.
    pub(crate) fn push_all(&self, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        self.waiting.fetch_add(commands.len(), Ordering::Relaxed);
        self.queue.lock().extend(commands.drain(..));
        self.filled.notify_one();
    }

    /// Waits until fewer than [`MAX_WAITING`] commands wait.
    pub(crate) async fn room(&self) {
        while self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            // `notify_one` leaves a permit, so a shard that empties in between is not missed.
            self.emptied.notified().await;
        }
    }

    /// Takes all that is queued. For the shard.
    pub(crate) fn take(&self, into: &mut VecDeque<Command>) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut queue = self.queue.lock();
        self.waiting.fetch_sub(queue.len(), Ordering::Relaxed);
        if into.is_empty() {
            std::mem::swap(&mut *queue, into);
        } else {
            into.append(&mut queue);
        }
        drop(queue);
        self.emptied.notify_one();
    }

    /// Waits until something may be queued. For the shard.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}
