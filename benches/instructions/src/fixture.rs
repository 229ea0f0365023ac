//! The fixtures of the counts: parts of a shard, its streams, tokens.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use idlewild::auth::Identity;
use idlewild::auth::mint::{Claims, mint};
use idlewild::clock::Clock;
use idlewild::config::{Auth, Secret};
use idlewild::event::EventId;
use idlewild::hub::directory::Directory;
use idlewild::shard::bench::{Setup, Solo};
use idlewild::shard::{Admission, Shared};
use idlewild::topic::Topic;
use idlewild::wire::Wire;
use tokio::runtime::Runtime;

/// The current time everywhere: the clock stands still.
pub const NOW_MS: u64 = 1_700_000_000_000;
/// The origin of logs.
pub const ORIGIN: EventId = EventId { ms: 1, seq: 0 };
/// Far above what any count connects.
const CAPACITY: usize = 4_096;

/// How tokens are signed.
pub fn auth() -> Auth {
    Auth {
        secret: Secret::new("a secret of the benches, 32 bytes and more"),
        ..Auth::default()
    }
}

/// A token of a user, valid for a quarter of an hour from [`NOW_MS`].
pub fn token(auth: &Auth, user: usize) -> String {
    let user = user.to_string();
    let claims = Claims {
        user: &user,
        session: Some("0b9d5f4e"),
        topics: &[],
        ttl: Duration::from_secs(900),
        now_unix_ms: NOW_MS,
    };
    mint(auth, &claims).expect("the secret is long enough")
}

/// A runtime for one shard.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime starts")
}

/// The shared parts of a single shard, with a clock that stands still.
pub fn shared() -> Shared {
    setup().shared()
}

/// The settings of [`shared`].
pub fn setup() -> Setup {
    Setup {
        clock: Clock::manual(NOW_MS),
        origin: ORIGIN,
        directory: Directory::with_known_seeds(),
        capacity: CAPACITY,
        ..Setup::default()
    }
}

/// Opens `clients` streams, one per user, each with the user's `topics`; returns the clients' ends.
pub fn connect(
    solo: &Solo,
    clients: usize,
    wire: Wire,
    topics: impl Fn(usize) -> Box<[Topic]>,
) -> Vec<UnixStream> {
    let mut shard = solo.shard().borrow_mut();
    let ends = (0..clients).map(|user| {
        let (client, server) = UnixStream::pair().expect("the limit allows two descriptors more");
        let seat = shard
            .admit(admission(user, wire, topics(user)))
            .expect("there is room");
        shard
            .join(
                seat,
                OwnedFd::from(server).into(),
                b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            )
            .expect("epoll takes it");
        client
    });
    ends.collect()
}

fn admission(user: usize, wire: Wire, topics: Box<[Topic]>) -> Admission {
    Admission {
        identity: Some(Identity {
            user: user.to_string().into(),
            session: None,
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        }),
        topics,
        wire,
        keep_alive: true,
        last_event_id: None,
        forwarded_for: None,
        expires_at_s: None,
    }
}
