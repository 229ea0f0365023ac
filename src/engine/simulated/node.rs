//! What the tasks of one node's engine share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::link::SimulatedLink;
use super::members::Member;
use super::place::StorePlace;
use super::store::{FoundStore, KnownLog, SimulatedStore};
use crate::clock::{Clock, millis};
use crate::engine::reconcile::LostChange;
use crate::engine::tail::Tail;
use crate::event::{EventId, SessionChange};
use crate::hub::Quota;
use crate::hub::directory::Directory;
use crate::hub::engine::{EngineFigures, EngineHealth, Verdict};

/// Time until a request whose link failed is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(20);
/// How long a lease lasts if nodes without contact admit clients for ever.
const DEFAULT_LEASE: Duration = Duration::from_secs(10);

/// One node.
pub(super) struct Node {
    pub(super) name: String,
    /// This process's name as a writer.
    pub(super) writer: String,
    /// How long clients are admitted without contact; zero means for ever.
    pub(super) max_stale: Duration,
    pub(super) store: Arc<SimulatedStore>,
    pub(super) link: SimulatedLink,
    pub(super) tail: Tail,
    pub(super) directory: Arc<Directory>,
    pub(super) streams: Arc<Quota>,
    pub(super) clock: Clock,
    /// The leader whose log was compared with this node's; `None` while there is none.
    pub(super) attached: watch::Sender<Option<u64>>,
    /// The newest session change that was appended here.
    pub(super) changed: watch::Sender<EventId>,
    started_ms: u64,
    numbers: AtomicU64,
    state: Mutex<NodeState>,
}

struct NodeState {
    away: Option<Arc<str>>,
    known: Option<KnownLog>,
    /// When the lease was renewed last.
    contact_ms: Option<u64>,
    /// The nodes that had a lease when the log was read last.
    peers: Vec<(String, Member)>,
    /// Changes that are in force here, and whose entries the store has lost once. They are appended again whenever it
    /// loses something, unless it has them.
    applied: Vec<LostChange>,
    owed: Owed,
    /// The newest date of a session change.
    dated_ms: u64,
    verdicts: [u64; Verdict::ALL.len()],
    unknown: u64,
}

/// What a node has to write back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Nothing,
    /// The store has lost something.
    All,
    /// It was written back up to here. When this node has read that far, the store has it for good, or its loss is
    /// noticed.
    Until(StorePlace),
}

impl Node {
    pub(super) fn new(
        name: String,
        max_stale: Duration,
        store: Arc<SimulatedStore>,
        tail: Tail,
        directory: Arc<Directory>,
        streams: Arc<Quota>,
        clock: Clock,
    ) -> Self {
        Self {
            writer: format!("{name}-{:08x}", fastrand::u32(..)),
            name,
            max_stale,
            link: SimulatedLink::new(Arc::clone(&store)),
            store,
            tail,
            directory,
            streams,
            attached: watch::Sender::new(None),
            changed: watch::Sender::new(EventId::default()),
            started_ms: clock.unix_ms(),
            numbers: AtomicU64::new(0),
            state: Mutex::new(NodeState {
                away: Some("the store has not been reached yet".into()),
                known: None,
                contact_ms: None,
                peers: Vec::new(),
                applied: Vec::new(),
                owed: Owed::Nothing,
                dated_ms: 0,
                verdicts: Default::default(),
                unknown: 0,
            }),
            clock,
        }
    }

    /// A number that this process has not used.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What this node knows of the log; `None` before it has seen any.
    pub(super) fn known(&self) -> Option<KnownLog> {
        self.state.lock().known
    }

    /// The newest entry that was read.
    pub(super) fn seen(&self) -> StorePlace {
        self.known()
            .map_or(StorePlace::default(), |known| known.seen)
    }

    /// Notes how far the log of this epoch was read.
    pub(super) fn set_seen(&self, epoch: u64, seen: StorePlace) {
        self.state.lock().known = Some(KnownLog { epoch, seen });
    }

    /// Notes that the next entry was read.
    pub(super) fn advance(&self, seen: StorePlace) {
        let mut state = self.state.lock();
        if let Some(known) = &mut state.known {
            known.seen = seen;
        }
        if matches!(state.owed, Owed::Until(until) if until <= seen) {
            state.owed = Owed::Nothing;
        }
    }

    /// Notes that the store lost something, among it these changes.
    pub(super) fn owe(&self, lost: Vec<LostChange>) {
        let mut state = self.state.lock();
        for change in lost {
            if !state.applied.contains(&change) {
                state.applied.push(change);
            }
        }
        state.owed = Owed::All;
    }

    /// Notes which nodes have a lease.
    pub(super) fn note_peers(&self, live: Vec<(String, Member)>) {
        self.state.lock().peers = live;
    }

    /// The nodes that had a lease when the log was read last.
    pub(super) fn peers(&self) -> Vec<(String, Member)> {
        self.state.lock().peers.clone()
    }

    /// Returns true if this change is in force here, and was lost by the store since.
    pub(super) fn has_applied(&self, change: &SessionChange) -> bool {
        let state = self.state.lock();
        state
            .applied
            .iter()
            .any(|applied| applied.change == *change)
    }

    /// The changes that are to be written back. `None` if nothing has to be.
    pub(super) fn owed(&self) -> Option<Vec<LostChange>> {
        let state = self.state.lock();
        (state.owed != Owed::Nothing).then(|| state.applied.clone())
    }

    /// Everything was written back, up to this place.
    pub(super) fn wrote_back(&self, until: StorePlace) {
        self.state.lock().owed = Owed::Until(until);
    }

    /// The node's log is the store's, up to what it has seen.
    pub(super) fn attach(&self, found: &FoundStore) {
        let mut state = self.state.lock();
        state.away = None;
        state.verdicts[found.verdict as usize] += 1;
        state.dated_ms = state.dated_ms.max(found.dated_ms);
        drop(state);
        self.attached.send_replace(Some(found.run));
    }

    /// The store cannot be used for now.
    pub(super) fn detach(&self, reason: &str) {
        self.state.lock().away = Some(reason.into());
        self.attached.send_replace(None);
    }

    /// The lease was renewed, from this time on.
    pub(super) fn contact(&self, now_ms: u64) {
        self.state.lock().contact_ms = Some(now_ms);
    }

    /// A session change of this date is known here.
    pub(super) fn note_date(&self, unix_ms: u64) {
        let mut state = self.state.lock();
        state.dated_ms = state.dated_ms.max(unix_ms);
    }

    pub(super) fn count_unknown(&self) {
        self.state.lock().unknown += 1;
    }

    /// What this node says of itself.
    pub(super) fn member(&self) -> Member {
        Member {
            until_ms: self.clock.unix_ms() + millis(self.lease()),
            started_ms: self.started_ms,
            applied: self.tail.log().dispatched_cursor().id,
            connections: self.streams.used(),
            users: self.directory.users_online() as u64,
        }
    }

    /// A node that the others do not wait for any more must not admit anybody. So a lease is as long as clients are
    /// admitted without contact.
    fn lease(&self) -> Duration {
        if self.max_stale.is_zero() {
            return DEFAULT_LEASE;
        }
        self.max_stale
    }

    /// Waits until the node is attached, but not beyond `deadline_ms` on its clock.
    pub(super) async fn attached_by(&self, deadline_ms: u64) -> Option<u64> {
        let mut attached = self.attached.subscribe();
        tokio::select! {
            biased;
            found = attached.wait_for(Option::is_some) => found.ok().and_then(|run| *run),
            () = self.clock.sleep_until(deadline_ms) => None,
        }
    }

    /// Returns true unless the store was not heard of for longer than `max_stale`.
    pub(super) fn is_current(&self) -> bool {
        let state = self.state.lock();
        let Some(contact_ms) = state.contact_ms else {
            return false;
        };
        if state.away.is_none() && self.link.is_whole() {
            // Beats are not awaited here: each would have arrived.
            return true;
        }
        let now_ms = self.clock.now_ms();
        self.max_stale.is_zero() || now_ms.saturating_sub(contact_ms) <= millis(self.max_stale)
    }

    pub(super) fn health(&self) -> EngineHealth {
        match &self.state.lock().away {
            None => EngineHealth::Well,
            Some(reason) => EngineHealth::Away(Arc::clone(reason)),
        }
    }

    pub(super) fn figures(&self, nodes: u64) -> EngineFigures {
        let state = self.state.lock();
        let silent_ms = self.clock.now_ms() - state.contact_ms.unwrap_or(0);
        EngineFigures {
            beat_age: Duration::from_millis(silent_ms),
            attached: state.verdicts,
            unknown: state.unknown,
            nodes,
            ..EngineFigures::default()
        }
    }

    /// The time that all nodes share: a change that is known here is not in its future.
    pub(super) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms().max(self.state.lock().dated_ms)
    }
}
