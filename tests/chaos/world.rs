//! The state that all clients share: the plan, the current server, and
//! counters.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Plan;

/// An event's id: milliseconds and a sequence number.
pub type Id = (u64, u64);

/// Counts the servers. From `begin_kill` to `end_kill`, one of them is being killed.
#[derive(Default)]
pub struct Servers {
    doomed: AtomicU32,
    gone: AtomicU32,
}

/// The state that all clients share, on one thread.
pub struct World {
    pub plan: Arc<Plan>,
    pub public: SocketAddr,
    pub servers: Arc<Servers>,
    pub counts: Counts,
    /// The id that each event was received with.
    ids: RefCell<Vec<Option<Id>>>,
    /// Sockets that receive nothing, each with the number of its server. They stay open, so that the
    /// server gets no sign of their end.
    deaf: RefCell<Vec<(u32, TcpStream)>>,
    began: Instant,
}

#[derive(Default)]
pub struct Counts {
    /// Connections that requested the stream, and those that got its first frame.
    pub connects: Cell<usize>,
    pub begun: Cell<usize>,
    pub cuts: Cell<usize>,
    pub stalls: Cell<usize>,
    /// Stalls that the server ended.
    pub stalls_ended: Cell<usize>,
    /// Connections that the server ended without the client noticing.
    pub unheard_ends: Cell<usize>,
    pub half_open: Cell<usize>,
    /// Troubles for a client that was between two connections.
    pub missed: Cell<usize>,
    /// Complete events.
    pub received: Cell<usize>,
    /// Connections that ended in the middle of an event.
    pub torn: Cell<usize>,
    /// Clients that have the first event, and clients that have the last.
    pub have_first: Cell<usize>,
    pub have_last: Cell<usize>,
}

impl Servers {
    pub fn begin_kill(&self) {
        self.doomed.fetch_add(1, Ordering::SeqCst);
    }

    pub fn end_kill(&self) {
        self.gone.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of the server that a new connection is made to. It may already be down.
    pub fn current(&self) -> u32 {
        self.gone.load(Ordering::SeqCst)
    }

    /// Returns true unless this server is being killed or was killed.
    pub fn is_well(&self, server: u32) -> bool {
        self.doomed.load(Ordering::SeqCst) == server
    }
}

impl World {
    pub fn new(plan: Arc<Plan>, public: SocketAddr, servers: Arc<Servers>) -> Self {
        let ids = RefCell::new(vec![None; plan.events.len()]);
        Self {
            plan,
            public,
            servers,
            counts: Counts::default(),
            ids,
            deaf: RefCell::default(),
            began: now(),
        }
    }

    pub fn now_ms(&self) -> u128 {
        now().duration_since(self.began).as_millis()
    }

    /// Records the id of an event; false if another client received it with a different id.
    pub fn identify(&self, number: usize, id: Id) -> bool {
        *self.ids.borrow_mut()[number].get_or_insert(id) == id
    }

    pub fn id(&self, number: usize) -> Option<Id> {
        self.ids.borrow()[number]
    }

    /// Keeps a socket that receives nothing.
    pub fn forget(&self, server: u32, socket: TcpStream) {
        self.deaf.borrow_mut().push((server, socket));
    }

    /// The number of a server's sockets that receive nothing.
    pub fn deaf_to(&self, server: u32) -> usize {
        let deaf = self.deaf.borrow();
        deaf.iter().filter(|(of, _)| *of == server).count()
    }
}

pub fn count(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}

pub fn now() -> Instant {
    #[allow(clippy::disallowed_methods)] // a real process in real time
    Instant::now()
}

pub async fn sleep(duration: Duration) {
    #[allow(clippy::disallowed_methods)] // a real process in real time
    tokio::time::sleep(duration).await;
}
