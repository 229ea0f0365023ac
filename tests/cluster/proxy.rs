//! A TCP proxy that causes faults, between a node and Redis or between a master and its replica. Settings change
//! while it runs.
//!
//! Each connection has two threads per direction: one reads, the other writes what is due.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::time::Instant;

use crate::common::real_time::now;
use crate::support::process::own_address;

/// Largest read.
const BUFFER: usize = 16 * 1024;
/// Reads of one direction that wait for their time.
const MAX_WAITING: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What happens to the bytes. The default passes them on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// New connections are closed with a reset.
    pub refuses: bool,
    /// Bytes disappear, and nobody is told of a close. A connection that lost bytes stays deaf.
    pub swallows: bool,
    pub delay: Duration,
    /// The same for connections that replicate, and only towards the replica.
    pub replication_delay: Duration,
    /// Every connection is cut once it has carried this many bytes in this direction.
    pub cut_after: Option<(Direction, usize)>,
    pub lost_replies: Option<LostReplies>,
}

/// Replies that are lost together with their connection, after the server has executed the request.
#[derive(Clone, Debug)]
pub struct LostReplies {
    /// The share of the requests.
    pub percent: u8,
    /// Requests that contain this text; all if it is empty.
    pub to: &'static str,
}

struct Shared {
    server: SocketAddr,
    faults: Mutex<Faults>,
    links: Mutex<Vec<Arc<Link>>>,
    has_ended: AtomicBool,
    lost_replies: AtomicUsize,
}

/// A connection of a client, and the one to the server.
struct Link {
    client: TcpStream,
    server: TcpStream,
    is_deaf: AtomicBool,
    /// The client asked to replicate.
    replicates: AtomicBool,
    /// The next reply is lost.
    loses_reply: AtomicBool,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(own_address()).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            faults: Mutex::default(),
            links: Mutex::default(),
            has_ended: AtomicBool::new(false),
            lost_replies: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Changes what happens from now on.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock() = faults;
    }

    /// From now on, bytes are passed on.
    pub fn pass(&self) {
        self.set(Faults::default());
    }

    /// Ends all connections and refuses new ones.
    pub fn refuse(&self) {
        self.set(Faults {
            refuses: true,
            ..Faults::default()
        });
        self.cut();
    }

    /// From now on, neither side receives anything.
    pub fn swallow(&self) {
        self.set(Faults {
            swallows: true,
            ..Faults::default()
        });
    }

    pub fn delay(&self, delay: Duration) {
        self.set(Faults {
            delay,
            ..Faults::default()
        });
    }

    pub fn delay_replication(&self, replication_delay: Duration) {
        self.set(Faults {
            replication_delay,
            ..Faults::default()
        });
    }

    pub fn cut_after(&self, direction: Direction, bytes: usize) {
        self.set(Faults {
            cut_after: Some((direction, bytes)),
            ..Faults::default()
        });
    }

    pub fn lose_replies(&self, percent: u8, to: &'static str) {
        self.set(Faults {
            lost_replies: Some(LostReplies { percent, to }),
            ..Faults::default()
        });
    }

    /// Ends all connections.
    pub fn cut(&self) {
        for link in &*self.shared.links.lock() {
            link.cut();
        }
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.links.lock().len()
    }

    /// The number of replies that were lost.
    pub fn lost_replies(&self) -> usize {
        self.shared.lost_replies.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Link {
    /// Ends both connections.
    fn cut(&self) {
        for socket in [&self.client, &self.server] {
            // An error means that it has ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn ends(&self, direction: Direction) -> (&TcpStream, &TcpStream) {
        match direction {
            Direction::ToServer => (&self.client, &self.server),
            Direction::ToClient => (&self.server, &self.client),
        }
    }

    /// Notes whether the client replicates, and whether it loses the reply. A request arrives in one read, except for
    /// large ones, which begin with their name.
    fn look_at_request(&self, bytes: &[u8], faults: &Faults) {
        if contains(bytes, "PSYNC") {
            self.replicates.store(true, Ordering::SeqCst);
        }
        let is_chosen = faults
            .lost_replies
            .as_ref()
            .is_some_and(|lost| contains(bytes, lost.to) && fastrand::u8(0..100) < lost.percent);
        if is_chosen {
            self.loses_reply.store(true, Ordering::SeqCst);
        }
    }

    fn delay(&self, direction: Direction, faults: &Faults) -> Duration {
        let replicates = self.replicates.load(Ordering::SeqCst);
        if direction == Direction::ToClient && replicates {
            faults.replication_delay.max(faults.delay)
        } else {
            faults.delay
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.has_ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        let server = if shared.faults.lock().refuses {
            None
        } else {
            TcpStream::connect(shared.server).ok()
        };
        let Some(server) = server else {
            // Makes the close a reset.
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            continue;
        };
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        let link = Arc::new(Link {
            client,
            server,
            is_deaf: AtomicBool::new(false),
            replicates: AtomicBool::new(false),
            loses_reply: AtomicBool::new(false),
        });
        shared.links.lock().push(Arc::clone(&link));
        if shared.faults.lock().refuses {
            // Since it was accepted, and [`Proxy::refuse`] may not have seen it.
            link.cut();
        }
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (shared, link) = (Arc::clone(shared), Arc::clone(&link));
            std::thread::spawn(move || carry(&shared, &link, direction));
        }
    }
}

/// Carries the bytes of one direction until the connection ends.
fn carry(shared: &Shared, link: &Arc<Link>, direction: Direction) {
    std::thread::scope(|scope| {
        let (queue, chunks) = sync_channel(MAX_WAITING);
        scope.spawn(move || write(link, direction, &chunks));
        read(shared, link, direction, queue);
    });
    if !link.is_deaf.load(Ordering::SeqCst) {
        link.cut();
        let mut links = shared.links.lock();
        links.retain(|other| !Arc::ptr_eq(other, link));
    }
}

/// Bytes, and the time at which they are passed on.
type Chunk = (Instant, Vec<u8>);

/// Reads until the connection ends or has to be cut.
#[allow(clippy::needless_pass_by_value)] // the end of the queue ends the writer
fn read(shared: &Shared, link: &Link, direction: Direction, queue: SyncSender<Chunk>) {
    let (mut from, _) = link.ends(direction);
    let mut buffer = [0; BUFFER];
    let mut carried = 0;
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let faults = shared.faults.lock().clone();
        if faults.swallows {
            link.is_deaf.store(true, Ordering::SeqCst);
        }
        if read == 0 {
            return;
        }
        let mut bytes = &buffer[..read];
        if link.is_deaf.load(Ordering::SeqCst) {
            continue;
        }
        match direction {
            Direction::ToServer => link.look_at_request(bytes, &faults),
            Direction::ToClient if link.loses_reply.load(Ordering::SeqCst) => {
                shared.lost_replies.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Direction::ToClient => {}
        }
        let limit = faults.cut_after.filter(|(cut, _)| *cut == direction);
        if let Some((_, limit)) = limit {
            bytes = &bytes[..read.min(limit.saturating_sub(carried))];
        }
        carried += bytes.len();
        let delay = link.delay(direction, &faults);
        let has_room = queue.send((now() + delay, bytes.to_vec())).is_ok();
        if !has_room || bytes.len() < read {
            return;
        }
    }
}

/// Writes every chunk when it is due.
fn write(link: &Link, direction: Direction, chunks: &Receiver<Chunk>) {
    let (_, mut to) = link.ends(direction);
    for (due, bytes) in chunks {
        std::thread::sleep(due.saturating_duration_since(now()));
        if !link.is_deaf.load(Ordering::SeqCst) && to.write_all(&bytes).is_err() {
            link.cut();
            return;
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    text.is_empty()
        || bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
}

mod tests {
    use std::time::Duration;

    use ::redis::{Client, Connection, RedisResult, cmd};

    use super::{Direction, Proxy};
    use crate::redis::{Options, Redis};
    use crate::support::eventually;

    /// Long enough for an answer over loopback.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How long a test waits for an answer that must not arrive.
    const SILENCE: Duration = Duration::from_millis(200);

    struct Scene {
        redis: Redis,
        proxy: Proxy,
    }

    impl Scene {
        fn new() -> Self {
            let redis = Redis::start(Options::in_memory());
            let proxy = Proxy::start(redis.address());
            Self { redis, proxy }
        }

        fn connect(&self, patience: Duration) -> RedisResult<Connection> {
            let client = Client::open(self.redis.url_at(self.proxy.address))?;
            let connection = client.get_connection_with_timeout(PATIENCE)?;
            connection.set_read_timeout(Some(patience))?;
            Ok(connection)
        }

        /// What Redis counted.
        fn count(&self) -> Option<u64> {
            self.redis.command(&["GET", "count"])
        }
    }

    fn increment(connection: &mut Connection) -> RedisResult<u64> {
        cmd("INCR").arg("count").query(connection)
    }

    #[test]
    fn a_proxy_passes_refuses_and_passes_again() {
        let scene = Scene::new();
        let mut connection = scene.connect(PATIENCE).unwrap();
        assert_eq!(increment(&mut connection).unwrap(), 1);
        scene.proxy.refuse();
        assert!(increment(&mut connection).is_err());
        assert!(scene.connect(PATIENCE).is_err());
        assert_eq!(scene.count(), Some(1));
        scene.proxy.pass();
        assert_eq!(increment(&mut scene.connect(PATIENCE).unwrap()).unwrap(), 2);
    }

    #[test]
    fn a_connection_whose_bytes_are_swallowed_stays_open_and_deaf() {
        let scene = Scene::new();
        let mut connection = scene.connect(SILENCE).unwrap();
        scene.proxy.swallow();
        let error = increment(&mut connection).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(scene.proxy.connections(), 1);
        scene.proxy.pass();
        assert!(increment(&mut connection).is_err());
        assert_eq!(scene.count(), None);
        assert_eq!(increment(&mut scene.connect(PATIENCE).unwrap()).unwrap(), 1);
    }

    #[test]
    fn a_lost_reply_is_that_of_a_request_which_was_executed() {
        let scene = Scene::new();
        let mut connection = scene.connect(PATIENCE).unwrap();
        scene.proxy.lose_replies(100, "INCR");
        assert_eq!(
            cmd("PING").query::<String>(&mut connection).unwrap(),
            "PONG"
        );
        assert!(increment(&mut connection).is_err());
        assert_eq!((scene.count(), scene.proxy.lost_replies()), (Some(1), 1));
        scene.proxy.lose_replies(0, "INCR");
        assert_eq!(increment(&mut scene.connect(PATIENCE).unwrap()).unwrap(), 2);
    }

    #[test]
    fn a_connection_is_cut_after_some_bytes_of_either_direction() {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let scene = Scene::new();
            let mut connection = scene.connect(PATIENCE).unwrap();
            scene.proxy.cut_after(direction, 2_000);
            let executed = (0..10)
                .map_while(|_| {
                    let text = "x".repeat(500);
                    cmd("ECHO").arg(&text).query::<String>(&mut connection).ok()
                })
                .count();
            assert_eq!(executed, 3, "{direction:?}");
            eventually("the proxy has closed it", || scene.proxy.connections() == 0);
        }
    }

    #[test]
    fn what_is_delayed_arrives_later() {
        let scene = Scene::new();
        scene.proxy.delay(SILENCE);
        let mut connection = scene.connect(PATIENCE).unwrap();
        assert_eq!(increment(&mut connection).unwrap(), 1);
        // Longer than the test may last.
        scene.proxy.delay(Duration::from_secs(3_600));
        connection.set_read_timeout(Some(SILENCE)).unwrap();
        let error = increment(&mut connection).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(scene.count(), Some(1));
    }

    #[test]
    fn only_replication_is_delayed() {
        let scene = Scene::new();
        let address = scene.proxy.address;
        let link = format!("replicaof {} {}", address.ip(), address.port());
        let replica = Redis::start(Options::in_memory().set(link));
        eventually("the replica follows", || {
            replica.info("master_link_status").as_deref() == Some("up")
        });
        let mut connection = scene.connect(PATIENCE).unwrap();
        // Longer than the test may last.
        scene.proxy.delay_replication(Duration::from_secs(3_600));
        assert_eq!(increment(&mut connection).unwrap(), 1);
        let wait = cmd("WAIT").arg(1).arg(100).query::<u64>(&mut connection);
        assert_eq!(wait.unwrap(), 0);
        assert_eq!(replica.command::<Option<u64>>(&["GET", "count"]), None);
    }
}
