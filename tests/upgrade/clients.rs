//! Streams over all transports, and a publisher that never pauses.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use idlewild::auth::mint::{Claims, mint};
use idlewild::clock::Clock;
use idlewild::config::{Auth, Secret};
use socket2::{Domain, Type};

use crate::common::admin::Admin;
use crate::common::kernel::has_read_all;
use crate::server::Addresses;
use crate::support::{API_KEY, Address, Client, NOTIFICATIONS, SECRET, Stream, eventually};

/// How streams connect.
pub const TRANSPORTS: [&str; 6] = [
    "sse",
    "sse over tls",
    "gzip",
    "gzip over tls",
    "ws",
    "ws over tls",
];

/// The address for a transport.
pub fn address(addresses: Addresses, transport: &str) -> Address {
    let is_tls = transport.ends_with("tls");
    Address {
        tcp: if is_tls {
            addresses.tls
        } else {
            addresses.plain
        },
        is_tls,
        is_websocket: transport.starts_with("ws"),
        is_gzip: transport.starts_with("gzip"),
    }
}

/// A token for an hour.
pub fn token(user: &str, session: Option<&str>, topics: &[&str]) -> String {
    token_for(Duration::from_secs(3_600), user, session, topics)
}

/// A token for this time.
pub fn token_for(ttl: Duration, user: &str, session: Option<&str>, topics: &[&str]) -> String {
    let auth = Auth {
        secret: Secret::new(SECRET),
        ..Auth::default()
    };
    let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
    let claims = Claims {
        user,
        session,
        topics: &topics,
        ttl,
        now_unix_ms: Clock::system().unix_ms(),
    };
    mint(&auth, &claims).unwrap()
}

/// A connection of a client whose kernel accepts only a few kilobytes.
pub fn connect_narrow(address: Address) -> Client {
    let tcp = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    tcp.set_recv_buffer_size(4 * 1_024).unwrap();
    tcp.connect(&address.tcp.into()).unwrap();
    Client::over(tcp.into(), address)
}

/// Opens a user's stream and reads its first block.
pub fn open(address: Address, token: &str, more: &str) -> Stream {
    let client = Client::connect(address);
    let mut stream = client.open(&format!("{NOTIFICATIONS}?token={token}{more}"));
    stream.begin();
    stream
}

/// A request for a stream that the server waits to answer, since its body has no end yet. The old process answers it even
/// after an upgrade.
pub struct BegunRequest(Client);

impl BegunRequest {
    /// Connects over TLS, and sends the head.
    pub fn send(addresses: Addresses, user: &str) -> Self {
        let mut client = Client::connect(address(addresses, "sse over tls"));
        client.get(&stream_path(user), "Transfer-Encoding: chunked\r\n");
        wait_until_read(&client);
        Self(client)
    }

    /// Sends the end of the empty body, and reads the head of the response.
    pub fn complete(mut self) -> Stream {
        self.0.socket.write_all(b"0\r\n\r\n").unwrap();
        self.0.stream()
    }
}

/// A request for a stream over TLS, of which the server has read a part of its record. A connection does not move in the
/// middle of a record.
pub struct HalfRecord {
    client: Client,
    rest: Vec<u8>,
}

impl HalfRecord {
    /// Connects, and sends the first part.
    pub fn send(addresses: Addresses, user: &str) -> Self {
        let address = address(addresses, "sse over tls");
        let mut client = Client::connect(address);
        let mut record = client
            .socket
            .seal(address.get(&stream_path(user), "").as_bytes());
        let rest = record.split_off(10);
        client.socket.tcp().write_all(&record).unwrap();
        wait_until_read(&client);
        Self { client, rest }
    }

    /// Sends the rest, and reads the head of the response.
    pub fn complete(self) -> Stream {
        self.client.socket.tcp().write_all(&self.rest).unwrap();
        self.client.stream()
    }
}

fn stream_path(user: &str) -> String {
    format!("{NOTIFICATIONS}?token={}", token(user, None, &[]))
}

fn wait_until_read(client: &Client) {
    let tcp = client.socket.tcp();
    let (ours, theirs) = (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());
    eventually("the server reads it", || has_read_all(theirs, ours));
}

/// Opens forty streams over all transports, each for a user of its own whose name begins with `name`.
pub fn open_crowd(addresses: Addresses, name: &str) -> Vec<Stream> {
    let streams = (0..40).map(|number| {
        let address = address(addresses, TRANSPORTS[number % TRANSPORTS.len()]);
        open(address, &token(&format!("{name}-{number}"), None, &[]), "")
    });
    streams.collect()
}

/// Reads up to the next event, past heartbeats, and returns its data.
#[track_caller]
pub fn next_data(stream: &mut Stream) -> String {
    loop {
        let frame = stream.next().expect("the stream goes on");
        if !frame.contains("event: heartbeat\n") {
            let data = frame.lines().find_map(|line| line.strip_prefix("data: "));
            return data.expect("an event has data").to_owned();
        }
    }
}

/// Publishes numbered events for users in turn, on one connection that is kept alive.
pub struct Publisher {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<usize>>,
}

impl Publisher {
    pub fn start(admin: SocketAddr, users: Vec<String>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let publish = move || {
            let mut admin = Admin::new(admin, API_KEY);
            let mut sent = vec![0; users.len()];
            while !flag.load(Ordering::Relaxed) {
                for (user, sent) in users.iter().zip(&mut sent) {
                    let event = format!(r#"{{"to":{{"user":"{user}"}},"data":"{sent}"}}"#);
                    let answer = admin.request("POST", "/v1/events", &event);
                    let answer = answer.expect("a request that is answered");
                    assert_eq!(answer.status, 202, "{}", answer.body);
                    *sent += 1;
                }
            }
            sent
        };
        Self {
            is_over,
            thread: std::thread::spawn(publish),
        }
    }

    /// Returns the number of each user's events.
    pub fn finish(self) -> Vec<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
