//! The writer's loop: collects the requests that wait, stores them in one commit, appends them to the log, and answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::group::Group;
use super::request::{Request, Stop, Stopped, Work};
use super::sweep::Sweep;
use crate::clock::{Clock, millis};
use crate::engine::durable::believed::BelievedTime;
use crate::engine::durable::bounds::Bounds;
use crate::engine::durable::disk::{Disk, Options};
use crate::engine::durable::health::{HistoryState, SharedState};
use crate::engine::durable::restore::{Jump, to_json};
use crate::engine::durable::store::{Fault, Retention, StoreError};
use crate::engine::durable::sync::Syncer;
use crate::engine::sequencer::{Sequenced, Sequencer};
use crate::engine::tail::Tail;
use crate::event::EventId;
use crate::hub::directory::{Directory, Standing};
use crate::hub::engine::EngineError;
use crate::hub::log::Record;
use crate::spans;

/// How much longer publishers' ids are stored than they are remembered. Their age is measured by the wall clock when
/// they are stored and by the monotonic clock while they are remembered, and the wall clock is set now and then.
const SOURCE_SLACK_MS: u64 = 60_000;
/// Time between two rounds of upkeep. Short in tests.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });

/// The store's thread: the open files and all that belongs to them.
pub(in crate::engine::durable) struct Writer {
    pub(super) disk: Disk,
    pub(super) options: Options,
    pub(super) bounds: Bounds,
    pub(super) syncer: Option<Syncer>,
    pub(super) tail: Tail,
    pub(super) sequencer: Sequencer,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Clock,
    pub(super) health: Arc<SharedState>,
    /// Real time for the upkeep, whatever clock the server runs on: other processes and the disk use it, too.
    pub(super) ticks: Clock,
    pub(super) next_tick_ms: u64,
    /// How far the clock may have jumped before the start. Publishers' ids are kept for so much longer, until
    /// `until_ms` on the monotonic clock.
    pub(super) jump: Jump,
    pub(super) is_wal_long: bool,
    /// The time by which standings age.
    pub(super) time: BelievedTime,
    pub(super) sweep: Sweep,
}

impl Writer {
    /// Serves requests until all senders are dropped, or until it has to stop. Then the directory is closed.
    pub(super) fn run(mut self, requests: &Receiver<Work>) -> Option<(Stop, Stopped)> {
        let stop = loop {
            match requests.recv_timeout(TICK) {
                Ok(first) => {
                    if let Some(stop) = self.serve(first, requests) {
                        break Some(stop);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break None,
            }
            let now_ms = self.ticks.now_ms();
            if now_ms >= self.next_tick_ms {
                self.next_tick_ms = now_ms + millis(TICK);
                self.tick();
            }
            self.sweep();
        };
        let stopped = Stopped {
            newest: self.sequencer.last_id(),
            history: self.disk.end(),
        };
        drop(self.syncer);
        self.time.close(&self.clock);
        if let Err(error) = self.disk.close() {
            tracing::error!(%error, "history.path: not closed properly; the next start reads the write-ahead log");
        }
        stop.map(|stop| (stop, stopped))
    }

    /// Takes the requests that wait behind the first one, and writes all of them in one commit. Returns a request to
    /// stop, if there is one among them.
    fn serve(&mut self, first: Work, waiting: &Receiver<Work>) -> Option<Stop> {
        let (group, stop) = self.gather(first, waiting);
        if !group.is_empty() {
            self.write(group);
        }
        stop
    }

    fn write(&mut self, group: Group) {
        let commits = group.spans();
        // The session log is written first: a change in it is accepted even if the database refuses it.
        let are_changes_logged = match group.changes.as_slice() {
            [] => Ok(()),
            changes => self.disk.log_changes(changes),
        };
        let are_logged = are_changes_logged.is_ok() && !group.changes.is_empty();
        match are_changes_logged.and_then(|()| self.store(&group)) {
            Ok(()) => {
                drop(commits);
                self.accept(group);
            }
            Err(error) => {
                for span in &commits {
                    spans::fail(span, &error);
                }
                drop(commits);
                self.sequencer.undo(group.sources);
                self.fail(&error);
                self.accept_changes(group, are_logged);
            }
        }
        self.look_at_mark();
    }

    /// Collects requests until none waits, the group is full, or the writer has to stop. Requests of callers that have
    /// left are dropped: they waited in vain, and would be carried out late.
    fn gather(&mut self, first: Work, waiting: &Receiver<Work>) -> (Group, Option<Stop>) {
        let mut group = Group::default();
        let mut next = Some(first);
        let closed = self.closed_to_events();
        while let Some(work) = next.take() {
            match work {
                Work::Stop(stop) => return (group, Some(stop)),
                Work::Append(control, receipt) => {
                    if receipt.is_wanted() {
                        group.add_control(self.sequencer.next_id(), control, receipt);
                    }
                }
                Work::Store(request) => {
                    if let Some(error) = closed
                        && (request.is_publish() || error == EngineError::Gone)
                    {
                        request.refuse(error);
                    } else if !request.is_closed() {
                        let ids = self.prepare(&request, &mut group);
                        group.requests.push((request, ids));
                    }
                }
            }
            if !group.is_full() {
                next = waiting.try_recv().ok();
            }
        }
        (group, None)
    }

    /// The reason why no event can be stored, known without asking the database.
    fn closed_to_events(&self) -> Option<EngineError> {
        match self.health.get() {
            state @ (HistoryState::Gone | HistoryState::Overgrown) => state.error(),
            _ if !self.disk.is_writable() => HistoryState::Full.error(),
            _ if self.disk.is_mark_failing() => HistoryState::Failing.error(),
            _ => None,
        }
    }

    /// Adds what a request stores to the group. Returns the ids of its events.
    fn prepare(&mut self, request: &Request, group: &mut Group) -> Vec<EventId> {
        match request {
            Request::Publish { drafts, .. } => {
                let ids = drafts
                    .iter()
                    .map(|draft| match self.sequencer.event(draft) {
                        Sequenced::Known(id) => id,
                        Sequenced::New(id) => {
                            group.add_event(id, draft, &self.clock);
                            id
                        }
                    });
                ids.collect()
            }
            Request::ChangeSession { change, data, .. } => {
                let (id, change) = self.sequencer.session(change.clone());
                let before = self.standing(change.user.as_str(), group);
                let rules = self.directory.rules();
                let standing = to_json(&Standing::after(&change, id.ms, before.as_ref(), rules));
                let number = self.disk.changes() + 1 + group.changes.len() as u64;
                group.add_session(number, id, change, standing, data);
                vec![id]
            }
        }
    }

    /// The user's standing before the next change.
    fn standing(&self, user: &str, group: &Group) -> Option<Standing> {
        // A change in the same commit counts.
        let stored = match group.standing(user) {
            Some(standing) => Ok(Some(standing.to_owned())),
            None => self.disk.standing(user),
        };
        match stored {
            // A standing that cannot be parsed was refused at the start.
            Ok(Some(standing)) => serde_json::from_str(&standing).ok(),
            // The directory may lack a change that is still on its way to it, but that one's row would have been
            // found above.
            Ok(None) | Err(_) => self.directory.standing(user),
        }
    }

    fn store(&mut self, group: &Group) -> Result<(), StoreError> {
        if self.health.get() == HistoryState::Unflushed
            && let Some(store) = self.disk.store()
        {
            store.checkpoint(true)?;
            self.recover();
        }
        match (group.rows.is_empty(), self.disk.store()) {
            (false, _) => self
                .disk
                .commit(&group.rows, self.sequencer.last_id(), self.limits()),
            // Without rows a commit would prove nothing about the disk.
            (true, Some(store)) if self.health.get().is_failing() => store.probe(),
            (true, _) => Ok(()),
        }
    }

    /// Appends what is stored to the log, and answers the requests.
    fn accept(&mut self, group: Group) {
        if let Some(syncer) = &self.syncer
            && !group.rows.is_empty()
        {
            syncer.note_write();
        }
        // If the database is not open, the group has only control entries, which prove nothing about the disk.
        if self.health.get().is_failing() && self.disk.is_writable() {
            self.recover();
        }
        for (id, record) in group.entries {
            self.tail.append_silently(id, record);
        }
        self.tail.dispatch();
        for (request, ids) in group.requests {
            request.accept(ids);
        }
    }

    /// Called if the database has stored nothing of the group. Accepts its session changes if they are in the
    /// session log, and refuses the other requests. Control entries need no database.
    fn accept_changes(&mut self, group: Group, are_logged: bool) {
        let error = self.health.get().error().unwrap_or(EngineError::NotStored);
        if are_logged {
            self.disk.keep(&group.changes, self.sequencer.last_id());
        }
        for (id, record) in group.entries {
            let is_accepted = match record {
                Record::Session { .. } => are_logged,
                Record::Control { .. } => true,
                Record::Event { .. } | Record::Mark | Record::Resync => false,
            };
            if is_accepted {
                self.tail.append_silently(id, record);
            }
        }
        self.tail.dispatch();
        for (request, ids) in group.requests {
            if are_logged && !request.is_publish() {
                request.accept(ids);
            } else {
                request.refuse(error);
            }
        }
    }

    /// What need not be kept. The newest rows are retained, one per entry that the log retains.
    pub(super) fn limits(&self) -> Retention {
        let now_ms = self.clock.now_ms();
        let oldest_ms = self.sequencer.oldest_source_ms() + SOURCE_SLACK_MS;
        let ahead_ms = if now_ms <= self.jump.until_ms {
            self.jump.ahead_ms
        } else {
            0
        };
        Retention {
            retained: self.tail.log().retained().1,
            sources_from_ms: self.clock.unix_ms().saturating_sub(oldest_ms + ahead_ms),
        }
    }

    /// Called when the disk was written successfully after a failure.
    pub(super) fn recover(&self) {
        if self.disk.is_mark_failing() {
            self.health.set(HistoryState::Failing);
            return;
        }
        tracing::info!("history.path: can be written again");
        self.health.set(HistoryState::Well);
    }

    /// Called when a write failed.
    pub(super) fn fail(&self, error: &StoreError) {
        let state = match error.fault() {
            Fault::Locked => HistoryState::Locked,
            _ if !self.disk.has_space() => HistoryState::Full,
            _ => HistoryState::Failing,
        };
        match self.health.get() {
            HistoryState::Well => {
                tracing::error!(%error, "history.path: cannot write; no event is accepted until that works again");
                self.health.set(state);
            }
            before if before.is_failing() => self.health.set(state),
            // A failed flush and missing files are worse, and remain the state.
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
