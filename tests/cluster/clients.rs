//! Clients that move between nodes with their last event id, all on one thread. A client whose connection ends goes to
//! another node, as a load balancer would send it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::common::admin::CLIENT_ADDRESSES;
use crate::common::book::Book;
use crate::common::connection::{Connection, Dialing};
use crate::common::journal::{Journal, Meaning};
use crate::common::real_time::sleep;
use crate::common::stream::{Frame, Item};
use crate::common::subscriber::Subscriber;
use crate::support::{SECRET, eventually};

/// Delay before a client's first connection, times its number: all are there within half a second.
const STAGGER: Duration = Duration::from_millis(2);
/// After this time without a heartbeat, a client gives the connection up: eight of the node's intervals.
const SILENCE: Duration = Duration::from_secs(8);
/// Largest read.
const READ_BYTES: usize = 4 * 1024;

pub struct Clients {
    shared: Arc<Shared>,
    orders: Vec<UnboundedSender<Order>>,
    thread: JoinHandle<Vec<Journal>>,
}

/// What the clients experienced so far.
#[derive(Clone, Copy, Debug)]
pub struct Experience {
    /// Times that a client left a node for another one.
    pub hops: usize,
    /// Streams that ended without the client's doing.
    pub ends: usize,
    /// Requests for a stream that were answered with 503.
    pub refusals: usize,
    pub events: usize,
}

enum Order {
    /// Leaves its node for this one.
    Hop(usize),
    /// Resets its connection and comes back to any node.
    Cut,
}

struct Shared {
    nodes: Vec<SocketAddr>,
    /// Nodes that clients are sent to.
    is_open: Vec<AtomicBool>,
    /// Hops per second of random clients.
    hop_rate: AtomicU64,
    is_over: AtomicBool,
    begun: AtomicUsize,
    hops: AtomicUsize,
    ends: AtomicUsize,
    refusals: AtomicUsize,
    events: AtomicUsize,
    /// An event that somebody waits for, and the clients that have it.
    awaited: AtomicUsize,
    have_awaited: Mutex<Vec<bool>>,
}

impl Clients {
    /// Connects all clients, spread over the nodes, and waits until every stream has begun.
    pub fn connect(nodes: &[SocketAddr], book: &Arc<Book>, subscribers: &[Subscriber]) -> Self {
        let shared = Arc::new(Shared {
            nodes: nodes.to_vec(),
            is_open: nodes.iter().map(|_| AtomicBool::new(true)).collect(),
            hop_rate: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            hops: AtomicUsize::new(0),
            ends: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            awaited: AtomicUsize::new(usize::MAX),
            have_awaited: Mutex::new(vec![false; subscribers.len()]),
        });
        let mut orders = Vec::new();
        let mut clients = Vec::new();
        for (number, subscriber) in subscribers.iter().enumerate() {
            let (order, queue) = unbounded_channel();
            orders.push(order);
            let journal = Journal::new(Arc::clone(book), subscriber.clone());
            clients.push((number, journal, queue));
        }
        let of_thread = (Arc::clone(&shared), orders.clone());
        let thread = std::thread::spawn(move || run(&of_thread.0, of_thread.1, clients));
        let clients = Self {
            shared,
            orders,
            thread,
        };
        eventually("every client has a stream", || {
            clients.begun() >= clients.len()
        });
        clients
    }

    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// From now on, this many random clients per second hop to a random node, or are cut off.
    pub fn hop_often(&self, per_second: u64) {
        self.shared.hop_rate.store(per_second, Ordering::SeqCst);
    }

    /// From now on, clients are sent to this node, or not. Streams that exist stay.
    pub fn open_node(&self, node: usize, is_open: bool) {
        self.shared.is_open[node].store(is_open, Ordering::SeqCst);
    }

    /// Ends all streams; each client comes back to any node that is open.
    pub fn cut_all(&self) {
        for order in &self.orders {
            let _ = order.send(Order::Cut);
        }
    }

    pub fn experience(&self) -> Experience {
        let Shared {
            hops,
            ends,
            refusals,
            events,
            ..
        } = &*self.shared;
        Experience {
            hops: hops.load(Ordering::SeqCst),
            ends: ends.load(Ordering::SeqCst),
            refusals: refusals.load(Ordering::SeqCst),
            events: events.load(Ordering::SeqCst),
        }
    }

    /// The number of streams that have begun so far.
    pub fn begun(&self) -> usize {
        self.shared.begun.load(Ordering::SeqCst)
    }

    /// Begins to count the clients that have an event, which is not yet published.
    pub fn await_event(&self, number: usize) {
        let mut have = self.shared.have_awaited.lock();
        self.shared.awaited.store(number, Ordering::SeqCst);
        have.fill(false);
    }

    /// The number of clients that have the awaited event.
    pub fn have_awaited(&self) -> usize {
        let have = self.shared.have_awaited.lock();
        have.iter().filter(|has| **has).count()
    }

    /// Ends all clients and returns what they received.
    pub fn finish(self) -> Vec<Journal> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        drop(self.orders);
        self.thread.join().unwrap()
    }
}

type Queue = UnboundedReceiver<Order>;

fn run(
    shared: &Arc<Shared>,
    orders: Vec<UnboundedSender<Order>>,
    clients: Vec<(usize, Journal, Queue)>,
) -> Vec<Journal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(hop_at_random(Arc::clone(shared), orders));
        let mut tasks = Vec::new();
        for (number, journal, queue) in clients {
            let client = Client {
                number,
                node: number % shared.nodes.len(),
                token: journal.subscriber.token(SECRET),
                retry: STAGGER * u32::try_from(number).unwrap(),
                shared: Arc::clone(shared),
                journal,
            };
            tasks.push(tokio::task::spawn_local(client.live(queue)));
        }
        let mut journals = Vec::new();
        for task in tasks {
            journals.push(task.await.unwrap());
        }
        journals
    })
}

/// Gives orders at the rate that is set, until the end.
async fn hop_at_random(shared: Arc<Shared>, orders: Vec<UnboundedSender<Order>>) {
    const TICK: Duration = Duration::from_millis(10);
    let mut due = 0.0;
    while !shared.is_over.load(Ordering::SeqCst) {
        sleep(TICK).await;
        #[allow(clippy::cast_precision_loss)] // a few thousand
        let rate = shared.hop_rate.load(Ordering::SeqCst) as f64;
        due += rate * TICK.as_secs_f64();
        while due >= 1.0 {
            due -= 1.0;
            let order = match (fastrand::u8(0..4), shared.choose()) {
                (0, _) | (_, None) => Order::Cut,
                (_, Some(node)) => Order::Hop(node),
            };
            let _ = orders[fastrand::usize(0..orders.len())].send(order);
        }
    }
}

impl Shared {
    /// A random node that clients are sent to.
    fn choose(&self) -> Option<usize> {
        let open: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.is_open[*node].load(Ordering::SeqCst))
            .collect();
        fastrand::choice(open)
    }
}

struct Client {
    number: usize,
    node: usize,
    token: String,
    retry: Duration,
    shared: Arc<Shared>,
    journal: Journal,
}

impl Client {
    /// Runs until no more orders can arrive.
    async fn live(mut self, mut orders: Queue) -> Journal {
        let mut connection = None;
        loop {
            let order = tokio::select! {
                biased;
                order = orders.recv() => order,
                () = self.listen(&mut connection) => None,
            };
            match order {
                Some(order) => self.obey(&order, &mut connection),
                None => return self.journal,
            }
        }
    }

    fn obey(&mut self, order: &Order, connection: &mut Option<Connection>) {
        let Some(open) = connection.take() else {
            return;
        };
        match order {
            Order::Hop(node) => {
                self.shared.hops.fetch_add(1, Ordering::SeqCst);
                self.node = *node;
                // The next connection is made at once, while the node may still serve the old one.
                self.retry = Duration::ZERO;
                self.journal.note(&format!("hops to node {node}"));
            }
            Order::Cut => {
                open.reset_on_close();
                self.choose_node();
                self.journal.note("cut off");
            }
        }
    }

    /// Reads and reconnects, forever. May be dropped at any `await` and called again.
    async fn listen(&mut self, connection: &mut Option<Connection>) {
        loop {
            match connection {
                None => {
                    sleep(self.retry).await;
                    match Connection::open(&self.dialing()).await {
                        Ok(opened) => {
                            let (node, last) = (self.node, self.journal.last);
                            self.journal
                                .note(&format!("connected to node {node} after {last:?}"));
                            *connection = Some(opened);
                        }
                        // The node is down.
                        Err(error) => {
                            self.journal.note(&error.to_string());
                            self.turn_away();
                        }
                    }
                }
                Some(open) => {
                    if let Err(end) = self.read(open).await {
                        self.journal.note(&end);
                        if open.has_begun {
                            self.shared.ends.fetch_add(1, Ordering::SeqCst);
                        }
                        *connection = None;
                        self.turn_away();
                    }
                }
            }
        }
    }

    fn dialing(&self) -> Dialing<'_> {
        Dialing {
            server: self.shared.nodes[self.node],
            from: CLIENT_ADDRESSES[self.number % CLIENT_ADDRESSES.len()],
            token: &self.token,
            last: self.journal.last,
            is_narrow: false,
            uses_query: self.number.is_multiple_of(2),
        }
    }

    /// Goes to another node after a moment.
    fn turn_away(&mut self) {
        self.retry = Duration::from_millis(fastrand::u64(100..300));
        self.choose_node();
    }

    fn choose_node(&mut self) {
        self.node = self.shared.choose().unwrap_or(self.node);
    }

    /// Reads once and processes complete frames; an error is the end of the connection.
    async fn read(&mut self, connection: &mut Connection) -> Result<(), String> {
        let reading = connection.read(READ_BYTES);
        match tokio::time::timeout(SILENCE, reading).await {
            Ok(read) => read?,
            Err(_) => return Err("silence".to_owned()),
        }
        loop {
            match connection.incoming.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Frame(frame))) => self.take(&frame, connection),
                Ok(Some(Item::Status(200))) => {}
                Ok(Some(Item::Status(503))) => {
                    self.shared.refusals.fetch_add(1, Ordering::SeqCst);
                    return Err("refused: 503".to_owned());
                }
                Ok(Some(Item::Status(status))) => {
                    self.journal.fault(&format!("refused with {status}"));
                    return Err(format!("refused: {status}"));
                }
                Ok(Some(Item::End)) => return Err("ended".to_owned()),
                Err(broken) => {
                    self.journal.fault(&broken);
                    return Err(broken);
                }
            }
        }
    }

    fn take(&mut self, frame: &Frame, connection: &mut Connection) {
        let is_first = !std::mem::replace(&mut connection.has_begun, true);
        let meaning = self.journal.take(frame, is_first);
        match meaning {
            Meaning::First(retry) => {
                self.retry = retry;
                self.shared.begun.fetch_add(1, Ordering::SeqCst);
            }
            Meaning::Event(number) => {
                self.shared.events.fetch_add(1, Ordering::SeqCst);
                if self.shared.awaited.load(Ordering::SeqCst) == number {
                    self.shared.have_awaited.lock()[self.number] = true;
                }
            }
            Meaning::Other => {}
        }
    }
}
