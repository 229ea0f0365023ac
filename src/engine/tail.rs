//! The end of the log, which engines append to. No other code appends.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::event::{EventId, Position};
use crate::hub::engine::{EngineError, LocalNode};
use crate::hub::log::{Control, Entry, Log, NotRising, Receipt, Record};

/// Longest wait for room in the log. Then the publisher gets an error, and has to try again.
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// Highest number of control entries under way: as many as there are admin connections by default. They do not
/// wait for room in the log, so this bounds what they add to it.
pub(super) const MAX_COMMANDS: usize = 1_024;
/// Longest wait for a control entry to be carried out.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// An engine's access to the log.
#[derive(Clone)]
pub(super) struct Tail {
    log: Arc<Log>,
    clock: Clock,
    commands: Arc<Semaphore>,
    /// Set when the engine is opened.
    node: Arc<OnceLock<Weak<dyn LocalNode>>>,
}

impl Tail {
    pub(super) fn new(log: Arc<Log>, clock: Clock) -> Self {
        Self {
            log,
            clock,
            commands: Arc::new(Semaphore::new(MAX_COMMANDS)),
            node: Arc::default(),
        }
    }

    /// Notes the node that dispatches what is appended.
    pub(super) fn belongs_to(&self, node: Weak<dyn LocalNode>) {
        let _ = self.node.set(node); // once
    }

    /// Waits until there is room in the log.
    ///
    /// # Errors
    /// [`EngineError::Behind`] if that takes too long.
    pub(super) async fn room(&self) -> Result<(), EngineError> {
        tokio::select! {
            biased;
            () = self.log.room() => Ok(()),
            () = self.clock.sleep(ROOM_TIMEOUT) => Err(EngineError::Behind),
        }
    }

    /// Appends a control entry through `append`, which must not wait. Waits until the entry was carried out, and
    /// returns the number of connections that it ended.
    ///
    /// # Errors
    /// An error of `append`; [`EngineError::Behind`] if too many are under way; [`EngineError::Unknown`] if it takes
    /// too long.
    pub(super) async fn command(
        &self,
        control: Control,
        append: impl FnOnce(Control, Receipt) -> Result<(), EngineError>,
    ) -> Result<u64, EngineError> {
        let share = Arc::clone(&self.commands).try_acquire_owned();
        let (receipt, ended) = Receipt::new(share.map_err(|_| EngineError::Behind)?);
        append(control, receipt)?;
        tokio::select! {
            biased;
            ended = ended => ended.map_err(|_| EngineError::NotOpen),
            () = self.clock.sleep(COMMAND_TIMEOUT) => Err(EngineError::Unknown),
        }
    }

    /// Appends an entry that is accepted now. Its id must be higher than all before it, as a single node's ids are.
    pub(super) fn append(&self, id: EventId, record: Record) {
        let appended = self.log.append(id, self.clock.now_ms(), record);
        appended.expect("a single node's ids rise");
    }

    /// The same, but [`Tail::dispatch`] has to follow, whatever happens; see [`Log::append_silently`].
    pub(super) fn append_silently(&self, id: EventId, record: Record) {
        let now_ms = self.clock.now_ms();
        let appended = self.log.append_silently(id, now_ms, record);
        appended.expect("a single node's ids rise");
    }

    /// Dispatches what was appended silently, on this thread if nothing is in the way.
    pub(super) fn dispatch(&self) {
        match self.node.get().and_then(Weak::upgrade) {
            Some(node) => node.dispatch(),
            None => self.log.announce(),
        }
    }

    /// Appends an entry of a shared store. `accepted_ms` is the time of its acceptance, on the monotonic clock; if
    /// the nodes' clocks differ, it can be later than now, and then counts as now.
    ///
    /// # Errors
    /// [`NotRising`]; the log is unchanged then.
    pub(super) fn append_at(
        &self,
        id: EventId,
        accepted_ms: u64,
        record: Record,
    ) -> Result<(), NotRising> {
        let now_ms = self.clock.now_ms();
        self.log.append(id, accepted_ms.min(now_ms), record)
    }

    /// A control entry whose answer nobody waits for.
    pub(super) fn unanswered(control: Control) -> Record {
        let share = Arc::new(Semaphore::new(1)).try_acquire_owned();
        let (receipt, _) = Receipt::new(share.expect("nobody else uses it"));
        Record::Control { control, receipt }
    }

    /// Continues after the newest entry of another process; see [`Log::continue_after`].
    pub(super) fn continue_after(&self, newest: (Position, EventId), lost_before: EventId) {
        self.log.lose_before(lost_before);
        self.log.continue_after(newest);
    }

    /// Forgets everything, and begins again right before `first`, which is above all that the streams have. A mark is
    /// there, so that heartbeats have its position from now on.
    pub(super) fn begin_before(&self, first: EventId) {
        self.begin_with(first.before(), Record::Mark);
    }

    /// Forgets everything, begins again right before `first`, and ends all streams, because their clients have missed
    /// entries that this node does not know. A client that comes back is compared with what is known from now on. The
    /// streams end after that, so none is left of a client that joined what is forgotten. Returns when the shards have
    /// been told.
    pub(super) async fn restart_before(&self, first: EventId) {
        let begin = first.before();
        self.begin_with(begin, Record::Resync);
        // An event that the store has dropped may have had this id.
        self.log.begin_after(begin);
        self.log.dispatched(begin, self.log.generation()).await;
    }

    fn begin_with(&self, id: EventId, record: Record) {
        self.log.reset(id.before());
        let begun = self.append_at(id, self.clock.now_ms(), record);
        begun.expect("the id is after the one that the log begins at");
    }

    /// Removes the entries after `id`, which the store lost; see [`Log::truncate_after`]. A mark should follow:
    /// until the next entry, heartbeats have the position of an entry that was removed.
    pub(super) fn truncate_after(&self, id: EventId) -> Vec<Arc<Entry>> {
        self.log.truncate_after(id)
    }

    /// Forgets everything and begins after `floor`; see [`Log::reset`].
    pub(super) fn reset(&self, floor: EventId) {
        self.log.reset(floor);
    }

    /// Puts back what an earlier process stored; see [`Log::restore`].
    pub(super) fn restore(&self, id: EventId, age: Duration, record: Record) {
        self.log.restore(id, age, self.clock.now_ms(), record);
    }

    /// Begins after an id of an earlier process; see [`Log::begin_at`].
    pub(super) fn begin_at(&self, id: EventId) {
        self.log.begin_at(id);
    }

    /// Notes that entries before `id`, the newest entry's id, are lost; see [`Log::lose_before`].
    pub(super) fn lose_before(&self, id: EventId) {
        self.log.lose_before(id);
    }

    /// The time on the monotonic clock.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The time, in Unix milliseconds.
    pub(super) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// The log, for reading.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }
}
