//! Brings the files of a directory into agreement, whatever an earlier process left.

use std::io;
use std::path::Path;

use super::disk::Options;
use super::lock::DirectoryLock;
use crate::engine::durable::mark::{Mark, MarkFile};
use crate::engine::durable::recovery::{self, Database, assess};
use crate::engine::durable::session_log::{Change, ChangeKind, SessionLog};
use crate::engine::durable::store::{
    self, Fault, LoggedOut, Retention, Row, Store, StoreError, StoreState, rebuild,
};
use crate::event::EventId;

/// The files of a directory after the repair.
pub(super) struct Repaired {
    pub(super) newest_stored: EventId,
    pub(super) are_events_missing: bool,
    pub(super) store: Store,
    pub(super) log: SessionLog,
    pub(super) mark_file: MarkFile,
    pub(super) mark: Mark,
    /// When everyone was logged out, in Unix milliseconds, if the repair did that.
    pub(super) everyone_ms: Option<u64>,
    /// Session changes that the database did not have.
    pub(super) replayed: Vec<Change>,
}

/// What had the directory before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// An earlier process, at any time. Anything may have happened to the files.
    Unknown,
    /// A process of the server that has run until now.
    Server,
}

/// Opens the files, assesses them, and stores what some of them lack.
pub(super) fn repair(
    directory: &Path,
    lock: &DirectoryLock,
    options: Options,
    unix_ms: u64,
    logged_out: LoggedOut<'_>,
    before: Before,
) -> Result<Repaired, StoreError> {
    // A rebuild may have been interrupted.
    store::finish(directory, true)?;
    let (mut mark_file, mut mark) = MarkFile::open(directory)?;
    mark.is_of_history = lock.has_history()?;
    let (log, found) = SessionLog::open(directory)?;
    let has_witness = mark.exists || found.exists;
    let store = match Store::open(directory, options.fsync) {
        Ok(store) => Some(store),
        // Without a mark or a session log beside it, the file may not be ours.
        Err(error) if error.fault() == Fault::Damage && has_witness => {
            tracing::warn!(%error, "history.path: the database cannot be read; making a new one");
            None
        }
        Err(error) => return Err(error),
    };
    let database = store.as_ref().map_or(Database::Unreadable, |store| {
        let verified = match before {
            Before::Unknown => store.reader().verify(),
            Before::Server => store.reader().verify_end(),
        };
        recovery::classify(verified, store.is_current(), &mark, &found)
    });
    let (has_records, newest_in_log) = (!found.changes.is_empty(), found.newest);
    let is_old = matches!(database, Database::Old(_));
    let assessment = assess(database, &mark, found);
    assessment.report(directory, options.on_damage);
    let everyone = assessment.everyone_out(options.on_damage, unix_ms);
    let rows: Vec<Row> = assessment.replay.iter().chain(&everyone).map(row).collect();
    let log = match log {
        // Created before the database is converted. If the start were interrupted after the conversion, the next one
        // would find a database of this version without a session log, and take session changes for lost.
        None if is_old => Some(SessionLog::create(directory, 0)?),
        log => log,
    };
    let store = if assessment.is_rebuilt {
        let reader = store.as_ref().map(Store::reader);
        let old = store.as_ref().map(Store::state).unwrap_or_default();
        let before = StoreState {
            // Whatever was stored before changes had numbers counts as one change, since no other file has any of it.
            changes: assessment.changes.max(1),
            ..old
        };
        rebuild(directory, reader, &rows, before, logged_out)?;
        drop(store);
        store::finish(directory, assessment.is_damaged)?;
        Store::open(directory, options.fsync)?
    } else {
        let mut store = store.ok_or_else(|| io::Error::other("no database"))?;
        let everything = Retention {
            retained: usize::MAX,
            sources_from_ms: 0,
        };
        if !rows.is_empty() {
            store.commit(&rows, everything)?;
        }
        store
    };
    let changes = store.state().changes;
    // A rebuilt database has been flushed as a whole.
    let is_flushed = store.checkpoint(false).is_ok() || assessment.is_rebuilt;
    let is_log_stale = has_records || assessment.is_damaged || newest_in_log != changes;
    let log = match log {
        Some(mut log) => {
            if is_flushed && is_log_stale {
                log.reset(changes)?;
            }
            log
        }
        None => SessionLog::create(directory, changes)?,
    };
    let mark = Mark {
        rows: store.last(),
        last_id: assessment.last_id,
        changes,
    };
    mark_file.rewrite(mark)?;
    lock.note_history()?;
    // A full disk is reported now, not with the first event.
    store.probe()?;
    Ok(Repaired {
        newest_stored: assessment.newest_stored,
        are_events_missing: assessment.are_events_missing,
        store,
        log,
        mark_file,
        mark,
        replayed: assessment.replay,
        everyone_ms: everyone.map(|change| match change.kind {
            ChangeKind::Everyone { logged_out_ms } => logged_out_ms,
            ChangeKind::Session { .. } => 0,
        }),
    })
}

fn row(change: &Change) -> Row {
    let number = change.number;
    match change.kind.clone() {
        ChangeKind::Session { user, standing } => Row::Session {
            number,
            user,
            standing,
        },
        ChangeKind::Everyone { logged_out_ms } => Row::Everyone {
            number,
            logged_out_ms,
        },
    }
}
