//! The thread that owns the store: reads it at the start, then writes what is asked, many requests
//! to a commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::record::Stored;
use super::store::{Limits, Row, Store, StoreError};
use super::sync::Syncer;
use super::{FAILING, Health, UNFLUSHED, WELL};
use crate::clock::{Clock, SteadyTime};
use crate::config::Fsync;
use crate::directory::{Directory, Standing};
use crate::engine::sources::{SOURCE_ID_MS, SourceKey, Sources};
use crate::engine::{EngineError, MAX_DRAFTS};
use crate::event::{Draft, EventId, SessionChange};
use crate::log::{Log, Record};
use crate::spans;

/// Events in one commit; beyond it the first who asked wait longer than the commit saves.
const MAX_GROUP: usize = 4 * MAX_DRAFTS;
/// The same by the bytes of their data, a single larger request aside.
const MAX_GROUP_BYTES: usize = 4 << 20;
/// Publishers' ids are dropped so much later than they are forgotten. Their age is told by one clock
/// and kept by another, which is set now and then.
const SOURCE_SLACK_MS: u64 = 60_000;
/// How often a quiet store is looked through for what need not be kept.
const TIDY: Duration = Duration::from_secs(1);
/// How often some sessions' rows are looked at, whether anything depends on them still.
const SWEEP_MS: u64 = 1_000;
/// So many at once, within a few milliseconds: a million in ten minutes.
const MAX_SWEPT: usize = 2_048;

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
        change: SessionChange,
        /// Of the `FORCE_LOGOUT` event.
        data: String,
        reply: oneshot::Sender<Result<EventId, EngineError>>,
        share: OwnedSemaphorePermit,
        span: Span,
    },
}

/// See the module's text.
pub(super) struct Writer {
    store: Store,
    syncer: Option<Syncer>,
    log: Arc<Log>,
    directory: Arc<Directory>,
    clock: Clock,
    health: Arc<Health>,
    sources: Sources,
    last_id: EventId,
    sweep: Sweep,
}

/// The next look at some sessions' rows.
struct Sweep {
    at_ms: u64,
    time: SteadyTime,
    /// The last user who was looked at.
    after: String,
}

/// What one commit is about.
#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    /// For the log, once it is stored.
    entries: Vec<(EventId, Record)>,
    /// For who asked, in order.
    ids: Vec<EventId>,
    sources: usize,
    /// Of the events' data.
    bytes: usize,
}

impl Writer {
    /// Opens the store and puts what it holds into the log and the directory.
    pub(super) fn open(
        path: &Path,
        fsync: Fsync,
        log: Arc<Log>,
        directory: Arc<Directory>,
        clock: Clock,
        health: Arc<Health>,
    ) -> Result<Self, StoreError> {
        let store = Store::open(path, fsync)?;
        let (unix_ms, now_ms) = (clock.unix_ms(), clock.now_ms());
        let mut last_id = EventId::default();
        store.entries(|id, entry| {
            let record = Stored::from_json(entry).and_then(|stored| stored.record(id));
            let record = record.map_err(|error| error.to_string())?;
            let age = Duration::from_millis(unix_ms.saturating_sub(id.ms));
            log.restore(id, age, now_ms, record);
            last_id = id;
            Ok(())
        })?;
        let settled = log.head();
        let mut steady = SteadyTime::since(last_id.ms, &clock);
        let steady_ms = steady.unix_ms(&clock);
        store.sessions(|user, standing| {
            let standing: Standing =
                serde_json::from_str(standing).map_err(|error| error.to_string())?;
            directory.restore(user, standing, steady_ms, settled);
            Ok(())
        })?;
        let mut sources = Sources::default();
        store.sources(|seen_ms, source, id| {
            let left_ms = SOURCE_ID_MS.saturating_sub(unix_ms.saturating_sub(seen_ms));
            if left_ms > 0
                && let Some(key) = SourceKey::from_text(source)
            {
                sources.remember(key, id, now_ms + left_ms);
            }
        })?;
        let syncer = match fsync {
            Fsync::Always => None,
            Fsync::Interval => {
                let (wal, health) = (store.wal()?, Arc::clone(&health));
                let failed = move |error| {
                    tracing::error!(%error, "history.path: cannot flush; nothing is accepted until that works again");
                    health.set(UNFLUSHED);
                };
                Some(Syncer::start(move || wal.sync_data(), failed)?)
            }
        };
        let sweep = Sweep {
            at_ms: now_ms,
            time: steady,
            after: String::new(),
        };
        let (bytes, entries) = log.retained();
        tracing::info!(path = %path.display(), entries, bytes, "history read");
        Ok(Self {
            store,
            syncer,
            log,
            directory,
            clock,
            health,
            sources,
            last_id,
            sweep,
        })
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(TIDY) {
                Ok(first) => self.serve(first, requests),
                Err(RecvTimeoutError::Timeout) => self.tidy(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.sweep();
        }
        drop(self.syncer);
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "history.path: not closed; it is read from its log");
        }
    }

    /// Takes what waits behind the first request and writes all of it in one commit.
    fn serve(&mut self, first: Request, waiting: &Receiver<Request>) {
        let mut group = Group::default();
        let mut requests = Vec::new();
        let mut next = Some(first);
        let mut stored = Ok(());
        while let Some(request) = next.take() {
            // Whose publisher left is not stored: it was not accepted.
            if !request.is_closed() {
                let begin = group.ids.len();
                if stored.is_ok() {
                    stored = self.prepare(&request, &mut group);
                }
                requests.push((request, begin..group.ids.len()));
            }
            if group.entries.len() < MAX_GROUP && group.bytes < MAX_GROUP_BYTES {
                next = waiting.try_recv().ok();
            }
        }
        // Everybody's trace has the commit that they waited for.
        let commits: Vec<Span> = requests
            .iter()
            .map(|(request, _)| spans::commit(request.span(), group.entries.len()))
            .collect();
        let stored = stored.and_then(|()| {
            if self.health.is(UNFLUSHED) {
                self.store.checkpoint()?;
                self.recover();
            }
            match group.rows.is_empty() {
                false => self.store.commit(&group.rows, self.limits()),
                // Nothing to store is no reason to believe that something could be.
                true if self.health.is(FAILING) => self.store.probe(),
                true => Ok(()),
            }
        });
        match stored {
            Ok(()) => {
                drop(commits);
                self.accept(group, requests);
            }
            Err(error) => {
                for span in &commits {
                    spans::fail(span, &error);
                }
                self.sources.undo(group.sources);
                self.fail(&error);
                for (request, _) in requests {
                    request.refuse();
                }
            }
        }
    }

    fn prepare(&mut self, request: &Request, group: &mut Group) -> Result<(), StoreError> {
        match request {
            Request::Publish { drafts, .. } => {
                for draft in drafts {
                    let id = self.prepare_event(draft, group);
                    group.ids.push(id);
                }
            }
            Request::ChangeSession { change, data, .. } => {
                let user = change.user.as_str();
                // One that is in this commit, too, counts.
                let before = group.rows.iter().rev().find_map(|row| match row {
                    Row::Session {
                        user: other,
                        standing,
                    } if other == user => Some(standing.clone()),
                    _ => None,
                });
                let before = match before {
                    Some(before) => Some(before),
                    None => self.store.session(user)?,
                };
                // What cannot be read was refused at the start.
                let before: Option<Standing> =
                    before.and_then(|before| serde_json::from_str(&before).ok());
                let id = self.next_id();
                let rules = self.directory.rules();
                let standing = Standing::after(change, id.ms, before.as_ref(), rules);
                group.rows.push(Row::Event {
                    id,
                    entry: Stored::session(change, data).to_json(),
                });
                group.rows.push(Row::Session {
                    user: user.to_owned(),
                    standing: serde_json::to_string(&standing)
                        .expect("texts and numbers serialise"),
                });
                let record = Record::session(id, change.clone(), data);
                group.entries.push((id, record));
                group.ids.push(id);
            }
        }
        Ok(())
    }

    fn prepare_event(&mut self, draft: &Draft, group: &mut Group) -> EventId {
        let now_ms = self.clock.now_ms();
        let source_id = draft.source_id.as_deref();
        let key = source_id.map(|source_id| SourceKey::new(&draft.to, source_id));
        if let Some(key) = key
            && let Some(id) = self.sources.find(key, now_ms)
        {
            return id;
        }
        let id = self.next_id();
        let Draft {
            to,
            name,
            data,
            persist,
            ..
        } = draft;
        if *persist {
            group.rows.push(Row::Event {
                id,
                entry: Stored::event(to, name, data).to_json(),
            });
        }
        if let Some(key) = key {
            group.rows.push(Row::Source {
                source: key.to_text(),
                id,
                seen_ms: self.clock.unix_ms(),
            });
            self.sources.remember(key, id, now_ms + SOURCE_ID_MS);
            group.sources += 1;
        }
        let record = Record::event(id, to.clone(), name, data, *persist);
        group.bytes += data.len();
        group.entries.push((id, record));
        id
    }

    fn next_id(&mut self) -> EventId {
        self.last_id = self.last_id.next(self.clock.unix_ms());
        self.last_id
    }

    /// Hands what is stored to the log, and its ids to who asked.
    fn accept(&mut self, group: Group, requests: Vec<(Request, std::ops::Range<usize>)>) {
        if let Some(syncer) = &self.syncer
            && !group.rows.is_empty()
        {
            syncer.note_write();
        }
        if self.health.is(FAILING) {
            self.recover();
        }
        let now_ms = self.clock.now_ms();
        for (id, record) in group.entries {
            self.log.append_stored(id, now_ms, record);
        }
        for (request, range) in requests {
            request.accept(&group.ids[range]);
        }
    }

    fn tidy(&mut self) {
        let limits = self.limits();
        let recovered = if self.health.is(UNFLUSHED) {
            self.store.checkpoint()
        } else if self.health.is(FAILING) {
            self.store.probe()
        } else {
            if self.store.is_untidy(limits)
                && let Err(error) = self.store.commit(&[], limits)
            {
                self.fail(&error);
            }
            return;
        };
        if recovered.is_ok() {
            self.recover();
        }
    }

    /// Drops some of the sessions' rows that nothing can depend on any more. What is in the
    /// directory is not asked: a change that is stored may be on its way there.
    fn sweep(&mut self) {
        let now_ms = self.clock.now_ms();
        if now_ms < self.sweep.at_ms || !self.health.is(WELL) {
            return;
        }
        self.sweep.at_ms = now_ms + SWEEP_MS;
        let rules = self.directory.rules();
        let unix_ms = self.sweep.time.unix_ms(&self.clock);
        let after = std::mem::take(&mut self.sweep.after);
        let mut over = Vec::new();
        let mut last = None;
        let mut looked_at = 0;
        let swept = self
            .store
            .sessions_after(&after, MAX_SWEPT, |user, standing| {
                looked_at += 1;
                last = Some(user.to_owned());
                // What cannot be read was refused at the start.
                if let Ok(standing) = serde_json::from_str::<Standing>(standing)
                    && standing.is_over(unix_ms, rules)
                {
                    let user = user.to_owned();
                    over.push(Row::NoSession { user });
                }
            });
        let swept = swept.and_then(|()| {
            if over.is_empty() {
                return Ok(());
            }
            self.store.commit(&over, self.limits())
        });
        match swept {
            // At the end it begins again.
            Ok(()) if looked_at == MAX_SWEPT => self.sweep.after = last.unwrap_or_default(),
            Ok(()) => {}
            Err(error) => self.fail(&error),
        }
    }

    /// The log retains the newest rows, each of its entries being one.
    fn limits(&self) -> Limits {
        let oldest_ms = self.sources.oldest_ms(self.clock.now_ms()) + SOURCE_SLACK_MS;
        Limits {
            retained: self.log.retained().1,
            sources_from_ms: self.clock.unix_ms().saturating_sub(oldest_ms),
        }
    }

    fn recover(&self) {
        tracing::info!("history.path: can be written again");
        self.health.set(WELL);
    }

    fn fail(&self, error: &StoreError) {
        // A flush that failed stays the worse of the two.
        if self.health.is(WELL) {
            tracing::error!(%error, "history.path: cannot write; nothing is accepted until that works again");
            self.health.set(FAILING);
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

    fn refuse(self) {
        match self {
            Self::Publish { reply, .. } => {
                let _ = reply.send(Err(EngineError::NotStored));
            }
            Self::ChangeSession { reply, .. } => {
                let _ = reply.send(Err(EngineError::NotStored));
            }
        }
    }
}
