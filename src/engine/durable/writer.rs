//! The thread that owns the store: reads it at the start, then writes what is asked, many requests
//! to a commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::believed::BelievedTime;
use super::bounds::Bounds;
use super::disk::{Disk, Options};
use super::health::{HistoryState, SharedState};
use super::record::Stored;
use super::restore::{Jump, logged_out, restore, to_json};
use super::session_log::{Change, What};
use super::store::{Fault, Retention, Row, StoreError};
use super::sync::Syncer;
use crate::clock::{Clock, millis};
use crate::config::{Fsync, History};
use crate::engine::sequencer::{Sequenced, Sequencer};
use crate::engine::sources::{SOURCE_ID_MS, SourceKey};
use crate::engine::tail::Tail;
use crate::event::{Draft, EventId, EventName, SessionDraft, Target, Users};
use crate::hub::directory::{Directory, Standing};
use crate::hub::engine::{EngineError, MAX_DRAFTS};
use crate::hub::log::{Control, Receipt, Record};
use crate::spans;

/// Events in one commit; beyond it the first who asked wait longer than the commit saves.
const MAX_GROUP: usize = 4 * MAX_DRAFTS;
/// The same by the bytes of their data, a single larger request aside.
const MAX_GROUP_BYTES: usize = 4 << 20;
/// Publishers' ids are dropped so much later than they are forgotten. Their age is told by one clock
/// and kept by another, which is set now and then.
const SOURCE_SLACK_MS: u64 = 60_000;
/// How often the directory is looked after: whether its files are there, how large they are, what
/// need not be kept.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });
/// How often some sessions' rows are looked at, whether anything depends on them still.
const SWEEP_MS: u64 = 1_000;
/// So many at once, within a few milliseconds: a million in ten minutes.
const MAX_SWEPT: usize = 2_048;

/// What the writer does.
#[derive(Debug)]
pub(super) enum Work {
    /// Stores something, appends it and answers.
    Store(Request),
    /// Appends a control entry, which is stored nowhere.
    Append(Control, Receipt),
}

/// Something to store, and who waits for it.
#[derive(Debug)]
pub(super) enum Request {
    Publish {
        drafts: Vec<Draft>,
        reply: oneshot::Sender<Result<Vec<EventId>, EngineError>>,
        /// Its share of what may wait, given back when it is in the log.
        share: OwnedSemaphorePermit,
        /// Of who asks.
        span: Span,
    },
    ChangeSession {
        change: SessionDraft,
        /// Of the `FORCE_LOGOUT` event.
        data: String,
        reply: oneshot::Sender<Result<EventId, EngineError>>,
        share: OwnedSemaphorePermit,
        span: Span,
    },
}

/// The store's thread: its files, the log, and what waits to be answered.
pub(super) struct Writer {
    disk: Disk,
    options: Options,
    bounds: Bounds,
    syncer: Option<Syncer>,
    tail: Tail,
    sequencer: Sequencer,
    directory: Arc<Directory>,
    clock: Clock,
    health: Arc<SharedState>,
    /// The disk's time, whatever clock the server runs on.
    ticks: Clock,
    next_tick_ms: u64,
    /// The clock may have jumped before the start: by so much less are publishers' ids too old,
    /// until so far on the monotonic clock.
    jump: Jump,
    is_wal_long: bool,
    /// By which standings grow old.
    time: BelievedTime,
    sweep: Sweep,
}

/// The next look at some sessions' rows.
struct Sweep {
    at_ms: u64,
    /// The last user who was looked at.
    after: String,
}

/// What one commit is about.
#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    /// Session changes, whose rows are above, too.
    changes: Vec<Change>,
    /// For the log, once it is stored.
    entries: Vec<(EventId, Record)>,
    /// For who asked, in order.
    ids: Vec<EventId>,
    sources: usize,
    /// Of the events' data.
    bytes: usize,
}

impl Writer {
    /// Opens the directory and puts what it holds into the log and the directory of users.
    pub(super) fn open(
        path: &Path,
        history: &History,
        bounds: Bounds,
        tail: Tail,
        directory: Arc<Directory>,
        clock: Clock,
        health: Arc<SharedState>,
    ) -> Result<Self, StoreError> {
        let options = Options {
            fsync: history.fsync,
            on_damage: history.on_damage,
        };
        let unix_ms = clock.unix_ms();
        let rules = directory.rules();
        let logged_out = |user: &str, before: &str, at_ms| logged_out(user, before, at_ms, rules);
        let disk = Disk::open(path, options, unix_ms, &logged_out)?;
        let jump = Jump::between(disk.newest_stored(), unix_ms, millis(history.max_age));
        let is_new = disk.last_id() == EventId::default() && disk.changes() == 0;
        let mut time = BelievedTime::open(path, is_new, &clock);
        let steady_ms = time.unix_ms(&clock);
        directory.begin_at(time.steady());
        let restored = restore(&disk, &tail, &directory, &clock, jump, steady_ms)?;
        let (bytes, entries) = tail.log().retained();
        tracing::info!(path = %path.display(), entries, bytes, "history read");
        let last_id = restored.newest.unwrap_or_default().max(disk.last_id());
        let mut writer = Self {
            options,
            bounds,
            syncer: None,
            tail,
            sequencer: Sequencer::behind(last_id, restored.sources, clock.clone()),
            directory,
            health,
            ticks: Clock::system(),
            next_tick_ms: 0,
            jump: Jump {
                until_ms: clock.now_ms() + SOURCE_ID_MS,
                ..jump
            },
            is_wal_long: false,
            time,
            sweep: Sweep {
                at_ms: clock.now_ms(),
                after: String::new(),
            },
            disk,
            clock,
        };
        if restored.newest.is_none() {
            writer.begin_history()?;
        } else if writer.disk.are_events_missing() {
            writer.note_loss()?;
        }
        writer.apply_log_out_of_everyone();
        writer.health.set(if writer.disk.is_writable() {
            HistoryState::Well
        } else {
            HistoryState::Full
        });
        writer.start_syncer()?;
        Ok(writer)
    }

    /// Stores the position of clients that come before the first event, so that it outlives the
    /// process. On a disk that takes nothing it holds until a restart.
    fn begin_history(&mut self) -> Result<(), StoreError> {
        let mut id = self.tail.log().dispatched_cursor().id;
        if id <= self.sequencer.last_id() {
            // Ids go on behind those that were given out and lost.
            id = self.sequencer.next_id();
            self.tail.begin_at(id);
        }
        self.sequencer.skip_to(id);
        if self.disk.is_writable() {
            let entry = Stored::Origin {}.to_json();
            let nothing_old = Retention {
                retained: 0,
                sources_from_ms: 0,
            };
            self.disk
                .commit(&[Row::Event { id, entry }], id, nothing_old)?;
        }
        Ok(())
    }

    /// Puts an event for nobody behind a loss: clients from before it get a gap, and its id
    /// is the position of those for whom nothing is there.
    fn note_loss(&mut self) -> Result<(), StoreError> {
        let id = self.sequencer.next_id();
        let (to, name) = (Target::Users(Users::new(Vec::new())), EventName::default());
        if self.disk.is_writable() {
            let entry = Stored::event(&to, &name, "").to_json();
            let row = Row::Event { id, entry };
            self.disk.commit(&[row], id, self.limits())?;
        } else {
            // It is not given out twice.
            self.disk.keep(&[], id);
        }
        let record = Record::Event {
            to,
            name,
            data: "".into(),
            is_kept: true,
        };
        self.tail.restore(id, Duration::ZERO, record);
        self.tail.lose_before(id);
        Ok(())
    }

    fn start_syncer(&mut self) -> Result<(), StoreError> {
        let (Fsync::Interval, Some(store)) = (self.options.fsync, self.disk.store()) else {
            return Ok(());
        };
        let (wal, health) = (store.wal()?, Arc::clone(&self.health));
        let failed = move |error| {
            tracing::error!(%error, "history.path: cannot flush; nothing is accepted until that works again");
            health.set(HistoryState::Unflushed);
        };
        self.syncer = Some(Syncer::start(move || wal.sync_data(), failed)?);
        Ok(())
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Work>) {
        loop {
            match requests.recv_timeout(TICK) {
                Ok(first) => self.serve(first, requests),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now_ms = self.ticks.now_ms();
            if now_ms >= self.next_tick_ms {
                self.next_tick_ms = now_ms + millis(TICK);
                self.tick();
            }
            self.sweep();
        }
        drop(self.syncer);
        self.time.close(&self.clock);
        if let Err(error) = self.disk.close() {
            tracing::error!(%error, "history.path: not closed; it is read from its log");
        }
    }

    /// Takes what waits behind the first request and writes all of it in one commit.
    fn serve(&mut self, first: Work, waiting: &Receiver<Work>) {
        let mut group = Group::default();
        let mut requests = Vec::new();
        let mut next = Some(first);
        let closed = self.closed_to_events();
        while let Some(work) = next.take() {
            match work {
                // Whose asker left, after waiting in vain, is not carried out late.
                Work::Append(control, receipt) => {
                    if receipt.is_wanted() {
                        let record = Record::Control { control, receipt };
                        group.entries.push((self.sequencer.next_id(), record));
                    }
                }
                Work::Store(request) => {
                    if let Some(error) = closed
                        && (request.is_publish() || error == EngineError::Gone)
                    {
                        request.refuse(error);
                    } else if !request.is_closed() {
                        // Whose publisher left is not stored: it was not accepted.
                        let begin = group.ids.len();
                        self.prepare(&request, &mut group);
                        requests.push((request, begin..group.ids.len()));
                    }
                }
            }
            if group.entries.len() < MAX_GROUP && group.bytes < MAX_GROUP_BYTES {
                next = waiting.try_recv().ok();
            }
        }
        if group.entries.is_empty() && requests.is_empty() {
            return;
        }
        // Everybody's trace has the commit that they waited for.
        let commits: Vec<Span> = requests
            .iter()
            .map(|(request, _)| spans::commit(request.span(), group.entries.len()))
            .collect();
        // First: what is in the session log is accepted, whatever the database says.
        let are_changes_logged = match group.changes.as_slice() {
            [] => Ok(()),
            changes => self.disk.log_changes(changes),
        };
        let are_logged = are_changes_logged.is_ok() && !group.changes.is_empty();
        match are_changes_logged.and_then(|()| self.store(&group)) {
            Ok(()) => {
                drop(commits);
                self.accept(group, requests);
            }
            Err(error) => {
                for span in &commits {
                    spans::fail(span, &error);
                }
                drop(commits);
                self.sequencer.undo(group.sources);
                self.fail(&error);
                self.accept_changes(group, requests, are_logged);
            }
        }
        self.look_at_mark();
    }

    /// Why no event can be stored, whatever the database would say.
    fn closed_to_events(&self) -> Option<EngineError> {
        match self.health.get() {
            state @ (HistoryState::Gone | HistoryState::Overgrown) => state.error(),
            _ if !self.disk.is_writable() => HistoryState::Full.error(),
            _ if self.disk.is_mark_failing() => HistoryState::Failing.error(),
            _ => None,
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
            // Nothing to store is no reason to believe that something could be.
            (true, Some(store)) if self.health.get().is_failing() => store.probe(),
            (true, _) => Ok(()),
        }
    }

    fn prepare(&mut self, request: &Request, group: &mut Group) {
        match request {
            Request::Publish { drafts, .. } => {
                for draft in drafts {
                    let id = self.prepare_event(draft, group);
                    group.ids.push(id);
                }
            }
            Request::ChangeSession { change, data, .. } => {
                let (id, change) = self.sequencer.session(change.clone());
                let user = change.user.as_str();
                let before = self.standing(user, group);
                let rules = self.directory.rules();
                let standing = Standing::after(&change, id.ms, before.as_ref(), rules);
                let standing = to_json(&standing);
                let number = self.disk.changes() + 1 + group.changes.len() as u64;
                group.rows.push(Row::Event {
                    id,
                    entry: Stored::session(&change, data).to_json(),
                });
                group.rows.push(Row::Session {
                    number,
                    user: user.to_owned(),
                    standing: standing.clone(),
                });
                let what = What::Session {
                    user: user.to_owned(),
                    standing,
                };
                group.changes.push(Change::new(number, id, what));
                let record = Record::Session {
                    change: change.clone(),
                    data: data.as_str().into(),
                };
                group.entries.push((id, record));
                group.ids.push(id);
            }
        }
    }

    /// What holds of the user's sessions before this change.
    fn standing(&self, user: &str, group: &Group) -> Option<Standing> {
        // One that is in this commit, too, counts.
        let in_group = group.rows.iter().rev().find_map(|row| match row {
            Row::Session {
                user: other,
                standing,
                ..
            } if other == user => Some(standing.clone()),
            _ => None,
        });
        let stored = match in_group {
            Some(standing) => Ok(Some(standing)),
            None => self.disk.standing(user),
        };
        match stored {
            // What cannot be read was refused at the start.
            Ok(Some(standing)) => serde_json::from_str(&standing).ok(),
            // Another change of this user may still be on its way to there; its rows would have
            // been found above.
            Ok(None) | Err(_) => self.directory.standing(user),
        }
    }

    fn prepare_event(&mut self, draft: &Draft, group: &mut Group) -> EventId {
        let id = match self.sequencer.event(draft) {
            Sequenced::Known(id) => return id,
            Sequenced::New(id) => id,
        };
        let Draft {
            to,
            name,
            data,
            is_kept,
            ..
        } = draft;
        if *is_kept {
            group.rows.push(Row::Event {
                id,
                entry: Stored::event(to, name, data).to_json(),
            });
        }
        if let Some(key) = SourceKey::of(draft) {
            group.rows.push(Row::Source {
                source: key.to_text(),
                id,
                seen_ms: self.clock.unix_ms(),
            });
            group.sources += 1;
        }
        let record = Record::from(draft.clone());
        group.bytes += data.len();
        group.entries.push((id, record));
        id
    }

    /// Hands what is stored to the log, and its ids to who asked.
    fn accept(&mut self, group: Group, requests: Vec<(Request, std::ops::Range<usize>)>) {
        if let Some(syncer) = &self.syncer
            && !group.rows.is_empty()
        {
            syncer.note_write();
        }
        // A control entry alone has asked nothing of a database that is not open.
        if self.health.get().is_failing() && self.disk.is_writable() {
            self.recover();
        }
        for (id, record) in group.entries {
            self.tail.append(id, record);
        }
        for (request, range) in requests {
            request.accept(&group.ids[range]);
        }
    }

    /// The database took nothing: accepts the session changes, if they are in the session log, and
    /// refuses the rest. Control entries need no database.
    fn accept_changes(
        &mut self,
        group: Group,
        requests: Vec<(Request, std::ops::Range<usize>)>,
        are_logged: bool,
    ) {
        let error = self.health.get().error().unwrap_or(EngineError::NotStored);
        if are_logged {
            self.disk.keep(&group.changes, self.sequencer.last_id());
        }
        for (id, record) in group.entries {
            let is_accepted = match record {
                Record::Session { .. } => are_logged,
                Record::Control { .. } => true,
                Record::Event { .. } => false,
            };
            if is_accepted {
                self.tail.append(id, record);
            }
        }
        for (request, range) in requests {
            if are_logged && !request.is_publish() {
                request.accept(&group.ids[range]);
            } else {
                request.refuse(error);
            }
        }
    }

    /// Looks after the directory.
    fn tick(&mut self) {
        // Whatever the disk takes: what is not seen of the clock is not known of it.
        self.time.unix_ms(&self.clock);
        self.look_for_files();
        if !self.disk.is_writable() && !self.try_again() {
            return;
        }
        self.measure_wal();
        let tidied = self.disk.tidy_log();
        let tidied = tidied.and_then(|()| self.tidy());
        if let Err(error) = tidied {
            self.fail(&error);
        }
        self.look_at_mark();
        self.apply_log_out_of_everyone();
    }

    /// What was stored is accepted all the same: the mark is empty by now, which counts as damage at
    /// the next start.
    fn look_at_mark(&self) {
        if self.disk.is_mark_failing() && self.health.get() == HistoryState::Well {
            self.health.set(HistoryState::Failing);
        }
    }

    fn tidy(&mut self) -> Result<(), StoreError> {
        let limits = self.limits();
        let Some(store) = self.disk.store() else {
            return Ok(());
        };
        match self.health.get() {
            HistoryState::Unflushed => store.checkpoint(true)?,
            state if state.is_failing() => {
                store.probe()?;
                // The session changes that it has not got.
                self.disk.commit(&[], self.sequencer.last_id(), limits)?;
            }
            _ if store.is_untidy(limits) || self.disk.has_pending() => {
                return self.disk.commit(&[], self.sequencer.last_id(), limits);
            }
            _ => return Ok(()),
        }
        self.recover();
        Ok(())
    }

    /// Opens the database that could not be written at the start.
    fn try_again(&mut self) -> bool {
        if !self.disk.has_space() {
            return false;
        }
        let rules = self.directory.rules();
        let logged_out = |user: &str, before: &str, at_ms| logged_out(user, before, at_ms, rules);
        let opened = self.disk.reopen(self.clock.unix_ms(), &logged_out);
        if let Ok(Some(everyone_ms)) = opened {
            self.directory.log_out_all(everyone_ms);
        }
        match opened.and_then(|_| self.start_syncer()) {
            Ok(()) => self.recover(),
            Err(error) => tracing::error!(%error, "history.path: still cannot be written"),
        }
        self.disk.is_writable()
    }

    fn look_for_files(&mut self) {
        let was_gone = self.health.get() == HistoryState::Gone;
        match self.disk.missing() {
            Some(file) if !was_gone => {
                tracing::error!(file = %file.display(),
                    "history.path: deleted or replaced; nothing is accepted until it is back or the server was restarted");
                self.health.set(HistoryState::Gone);
            }
            None if was_gone => self.recover(),
            _ => {}
        }
    }

    /// A reader's open transaction keeps the write-ahead log from being emptied.
    fn measure_wal(&mut self) {
        let Some(store) = self.disk.store() else {
            return;
        };
        let mut bytes = store.wal_bytes();
        if bytes > self.bounds.wal_warn_bytes && store.checkpoint(false).is_ok() {
            bytes = store.wal_bytes();
        }
        let is_long = bytes > self.bounds.wal_warn_bytes;
        if is_long && !self.is_wal_long {
            tracing::warn!(
                bytes,
                most_bytes = self.bounds.wal_max_bytes,
                "history.path: the write-ahead log grows, because another process reads the database; end that process"
            );
        } else if !is_long && self.is_wal_long {
            tracing::info!(bytes, "history.path: the write-ahead log is short again");
        }
        self.is_wal_long = is_long;
        match (bytes > self.bounds.wal_max_bytes, self.health.get()) {
            (true, HistoryState::Well) => {
                tracing::error!(
                    bytes,
                    "history.path: the write-ahead log is at its limit; no event is accepted until the other process has ended"
                );
                self.health.set(HistoryState::Overgrown);
            }
            (false, HistoryState::Overgrown) => self.recover(),
            _ => {}
        }
    }

    /// Users of whom nothing else is known are logged out by it, for as long as a token from before
    /// it can be good.
    fn apply_log_out_of_everyone(&mut self) {
        let everyone_ms = self.disk.everyone_ms();
        let rules = self.directory.rules();
        let unix_ms = self.time.unix_ms(&self.clock);
        let is_over = Standing::logged_out(everyone_ms, rules).is_over(unix_ms, rules);
        self.directory
            .log_everyone_out(if is_over { 0 } else { everyone_ms });
    }

    /// Drops some of the sessions' rows that nothing can depend on any more. What is in the
    /// directory is not asked: a change that is stored may be on its way there.
    fn sweep(&mut self) {
        let now_ms = self.clock.now_ms();
        if now_ms < self.sweep.at_ms || self.health.get() != HistoryState::Well {
            return;
        }
        // A user's row may be an old one, and the new one would be stored first and dropped.
        if self.disk.has_pending() {
            return;
        }
        let Some(store) = self.disk.store() else {
            return;
        };
        self.sweep.at_ms = now_ms + SWEEP_MS;
        let rules = self.directory.rules();
        let unix_ms = self.time.unix_ms(&self.clock);
        let after = std::mem::take(&mut self.sweep.after);
        let mut over = Vec::new();
        let swept = store.sessions_after(&after, MAX_SWEPT, |user, standing| {
            // What cannot be read was refused at the start.
            if let Ok(standing) = serde_json::from_str::<Standing>(standing)
                && standing.is_over(unix_ms, rules)
            {
                let user = user.to_owned();
                over.push(Row::NoSession { user });
            }
        });
        let swept = swept.and_then(|last| {
            if !over.is_empty() {
                self.disk
                    .commit(&over, self.sequencer.last_id(), self.limits())?;
            }
            Ok(last)
        });
        match swept {
            // At the end it begins again.
            Ok(last) => self.sweep.after = last.unwrap_or_default(),
            Err(error) => self.fail(&error),
        }
    }

    /// The log retains the newest rows, each of its entries being one.
    fn limits(&self) -> Retention {
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

    fn recover(&self) {
        if self.disk.is_mark_failing() {
            self.health.set(HistoryState::Failing);
            return;
        }
        tracing::info!("history.path: can be written again");
        self.health.set(HistoryState::Well);
    }

    fn fail(&self, error: &StoreError) {
        let state = match error.fault() {
            Fault::Locked => HistoryState::Locked,
            _ if !self.disk.has_space() => HistoryState::Full,
            _ => HistoryState::Failing,
        };
        // A flush that failed, and files that are gone, stay the worse.
        match self.health.get() {
            HistoryState::Well => {
                tracing::error!(%error, "history.path: cannot write; no event is accepted until that works again");
                self.health.set(state);
            }
            before if before.is_failing() => self.health.set(state),
            _ => {}
        }
    }
}

impl Request {
    /// A publisher who left needs no answer.
    fn accept(self, ids: &[EventId]) {
        match self {
            Self::Publish { reply, share, .. } => {
                drop(share);
                let _ = reply.send(Ok(ids.to_vec()));
            }
            Self::ChangeSession { reply, share, .. } => {
                drop(share);
                let _ = reply.send(ids.first().copied().ok_or(EngineError::NotStored));
            }
        }
    }

    fn span(&self) -> &Span {
        match self {
            Self::Publish { span, .. } | Self::ChangeSession { span, .. } => span,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Publish { reply, .. } => reply.is_closed(),
            Self::ChangeSession { reply, .. } => reply.is_closed(),
        }
    }

    fn is_publish(&self) -> bool {
        matches!(self, Self::Publish { .. })
    }

    fn refuse(self, error: EngineError) {
        match self {
            Self::Publish { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::ChangeSession { reply, .. } => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests;
