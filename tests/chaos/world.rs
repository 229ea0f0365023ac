//! The state that all clients share: the plan, the current server, and
//! counters.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::plan::Plan;

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
    /// Sockets that receive nothing, each with the number of its server. They stay open, so that the
    /// server gets no sign of their end.
    deaf: RefCell<Vec<(u32, TcpStream)>>,
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
        Self {
            plan,
            public,
            servers,
            counts: Counts::default(),
            deaf: RefCell::default(),
        }
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
