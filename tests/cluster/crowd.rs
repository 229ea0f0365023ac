//! Clients of one user, more than the limit allows, that come and go on all nodes as fast as they can. They count how
//! many of them are in at the same time.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::{NOTIFICATIONS, SECRET, process};

const CLIENTS: usize = 40;
/// A paused node does not answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest time that a client stays, and that one which was refused waits.
const MAX_STAY_MS: u64 = 300;

pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    nodes: Vec<SocketAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// Counts the users.
    round: usize,
    token: String,
    /// The nodes of the streams that are open, by client.
    open: HashMap<usize, usize>,
    /// How often each node was forgotten. An odd number means that its streams are not counted.
    forgotten: Vec<usize>,
    /// Most streams at the same time of this user, and of any.
    most: usize,
    most_ever: usize,
}

/// When a client came: a stream that begins after the user or the node has changed is not counted.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ticket {
    round: usize,
    node: usize,
    forgotten: usize,
}

impl Crowd {
    /// Nobody comes before [`Self::next_user`].
    pub fn start(nodes: Vec<SocketAddr>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                forgotten: vec![0; nodes.len()],
                ..State::default()
            }),
            nodes,
        });
        let threads = (0..CLIENTS).map(|client| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.come_and_go(client))
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// From now on, all are clients of another user.
    pub fn next_user(&self) {
        let round = self.shared.state.lock().round + 1;
        let token = process::token_signed_with(SECRET, &format!("crowd-{round}"));
        let mut state = self.shared.state.lock();
        state.round = round;
        state.token = token;
        state.open.clear();
        state.most = 0;
    }

    /// The most streams that this user had at the same time.
    pub fn most(&self) -> usize {
        self.shared.state.lock().most
    }

    /// From now on, streams of this node are not counted.
    pub fn forget_node(&self, node: usize) {
        let mut state = self.shared.state.lock();
        state.forgotten[node] += 1;
        state.open.retain(|_, of| *of != node);
    }

    /// From now on, new streams of this node are counted again.
    pub fn remember_node(&self, node: usize) {
        self.shared.state.lock().forgotten[node] += 1;
    }

    /// The most streams that any user had at the same time.
    pub fn most_ever(&self) -> usize {
        self.shared.state.lock().most_ever
    }

    /// Ends all clients.
    pub fn finish(self) {
        self.shared.state.lock().is_over = true;
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    fn come_and_go(&self, client: usize) {
        let pause = || std::thread::sleep(Duration::from_millis(fastrand::u64(0..MAX_STAY_MS)));
        loop {
            let node = fastrand::usize(0..self.nodes.len());
            let (ticket, token) = {
                let state = self.state.lock();
                if state.is_over {
                    return;
                }
                (state.ticket(node), state.token.clone())
            };
            if !token.is_empty()
                && let Some(stream) = open(self.nodes[node], &token)
            {
                self.state.lock().came(client, ticket);
                pause();
                // Before the node can know that it is gone.
                self.state.lock().open.remove(&client);
                drop(stream);
            } else {
                pause();
            }
        }
    }
}

impl State {
    fn ticket(&self, node: usize) -> Ticket {
        Ticket {
            round: self.round,
            node,
            forgotten: self.forgotten[node],
        }
    }

    fn came(&mut self, client: usize, ticket: Ticket) {
        if self.ticket(ticket.node) != ticket || !ticket.forgotten.is_multiple_of(2) {
            return;
        }
        self.open.insert(client, ticket.node);
        self.most = self.most.max(self.open.len());
        self.most_ever = self.most_ever.max(self.most);
    }
}

/// Opens a stream; `None` if it is refused or the node does not answer.
fn open(node: SocketAddr, token: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&node, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {NOTIFICATIONS}?token={token} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut status_line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status_line).ok()?;
    (&status_line == b"HTTP/1.1 200").then_some(stream)
}
