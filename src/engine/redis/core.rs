//! What the engine's tasks share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

use super::asking::Asking;
use super::keys::Keys;
use super::link::{Link, Purpose, ServerAddress};
use super::loss::Loss;
use super::register::Places;
use super::settings::RedisSettings;
use super::spread::Spread;
use super::state::State;
use crate::clock::Clock;
use crate::engine::tail::Tail;
use crate::event::EventId;
use crate::hub::Quota;
use crate::hub::directory::Directory;

/// What the engine's tasks share.
pub(super) struct Core {
    pub(super) settings: RedisSettings,
    pub(super) keys: Keys,
    pub(super) tail: Tail,
    pub(super) directory: Arc<Directory>,
    /// The server's clock. Tests move it.
    pub(super) clock: Clock,
    /// The machine's clock, for waiting for the store.
    pub(super) real: Clock,
    pub(super) state: State,
    /// The quota of streams, whose use this node tells the others.
    pub(super) streams: Arc<Quota>,
    /// This process's name as a writer. A node that is started again numbers its groups anew.
    pub(super) writer: String,
    /// When this process began, by the machine's clock.
    started_unix_ms: u64,
    /// The same by the store's clock, as it was when the store was first heard of.
    started_ms: OnceLock<u64>,
    /// The connections in use; `None` while there are none.
    pub(super) attached: watch::Sender<Option<Arc<Attached>>>,
    /// The newest session change that this node has appended to its log, and others may wait for.
    pub(super) changed: watch::Sender<EventId>,
    /// Notified when the engine was closed and all requests are answered.
    pub(super) drained: Notify,
    /// The places of users on this node.
    pub(super) places: Arc<Places>,
    /// Questions to and from other nodes.
    pub(super) asking: Asking,
    numbers: AtomicU64,
}

/// Connections to a server whose log has been compared with this node's.
pub(super) struct Attached {
    pub(super) address: ServerAddress,
    /// Names the log. A store that came back empty has another one.
    pub(super) epoch: Box<str>,
    /// Names the server's process; empty if it does not tell.
    pub(super) run: Box<str>,
    pub(super) write: Link,
    pub(super) ask: Link,
    pub(super) spread: Spread,
}

impl Attached {
    /// Another connection to the same server, for reading the log.
    pub(super) async fn open_reader(&self, settings: &RedisSettings) -> Result<Link, Loss> {
        let mut link = Link::open(&self.address, Purpose::Read, settings).await?;
        if !link.is_to(&self.run).await? {
            return Err(Loss::TwoServers);
        }
        Ok(link)
    }
}

impl Core {
    pub(super) fn new(
        settings: RedisSettings,
        tail: Tail,
        directory: Arc<Directory>,
        streams: Arc<Quota>,
        clock: Clock,
    ) -> Self {
        let real = Clock::system();
        let writer = format!("{}-{:08x}", settings.node, fastrand::u32(..));
        Self {
            places: Arc::new(Places::new(&writer, real.clone())),
            keys: Keys::new(&settings.prefix),
            state: State::new(real.clone()),
            writer,
            started_unix_ms: real.unix_ms(),
            started_ms: OnceLock::new(),
            attached: watch::Sender::new(None),
            changed: watch::Sender::new(EventId::default()),
            drained: Notify::new(),
            asking: Asking::default(),
            numbers: AtomicU64::new(0),
            settings,
            tail,
            directory,
            clock,
            real,
            streams,
        }
    }

    /// A number that this process has not used for a group or a request.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Waits until the node is attached, but not beyond `deadline_ms` on the machine's clock.
    pub(super) async fn attached_by(&self, deadline_ms: u64) -> Option<Arc<Attached>> {
        let mut attached = self.attached.subscribe();
        tokio::select! {
            biased;
            found = attached.wait_for(Option::is_some) => found.ok().and_then(|it| it.clone()),
            () = self.real.sleep_until(deadline_ms) => None,
        }
    }

    /// When this process began, in the store's Unix milliseconds. It does not change, although clocks do.
    pub(super) fn started_ms(&self) -> u64 {
        *self.started_ms.get_or_init(|| {
            let offset_ms = self.state.offset_ms();
            self.started_unix_ms.saturating_add_signed(offset_ms)
        })
    }

    /// The store's time, in Unix milliseconds. Tests do not move it.
    pub(super) fn store_unix_ms(&self) -> u64 {
        let ms = self.real.unix_ms();
        ms.saturating_add_signed(self.state.offset_ms())
    }

    /// The places that a user has on this node. The directory's lock makes the sum exact.
    pub(super) fn held(&self, user: &str) -> usize {
        let places = |connections| connections + self.places.besides_directory(user);
        self.directory.held(user, places)
    }

    /// The time that all nodes share, in Unix milliseconds.
    pub(super) fn unix_ms(&self) -> u64 {
        let ms = self.clock.unix_ms();
        ms.saturating_add_signed(self.state.offset_ms())
    }
}
