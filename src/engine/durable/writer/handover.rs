//! Leaves the directory to another process of the server, and takes it over from one. The log goes on meanwhile, so
//! nothing is restored: what the directory has and the log does not is appended.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::request::Work;
use super::start::WriterParts;
use super::writer::Writer;
use crate::clock::{Clock, millis};
use crate::engine::durable::believed::BelievedTime;
use crate::engine::durable::disk::{Disk, Taken};
use crate::engine::durable::health::HistoryState;
use crate::engine::durable::restore::{Jump, logged_out, restore_sources};
use crate::engine::durable::session_log::Change;
use crate::engine::durable::store::StoreError;
use crate::engine::record::Stored;
use crate::engine::sequencer::Sequencer;
use crate::engine::sources::Sources;
use crate::event::EventId;
use crate::hub::engine::{EngineError, PortableHistory};
use crate::hub::log::Record;

/// Time between two attempts to open the directory again. Short in tests.
const REOPEN_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });

/// How the process before has left the directory.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::durable) enum Left {
    /// It has handed everything over.
    Complete {
        /// The newest id that it gave out.
        newest: EventId,
        /// The end of the history.
        end: PortableHistory,
    },
    /// It has ended too early. The directory may have more than the log.
    Early,
}

/// Serves requests until all senders are dropped. In between, the directory may belong to another process.
pub(in crate::engine::durable) fn serve(
    mut writer: Writer,
    parts: &WriterParts,
    requests: &Receiver<Work>,
) {
    while let Some((stop, stopped)) = writer.run(requests) {
        // A caller that has left sends a message nevertheless, and the directory is opened again.
        let _ = stop.reply.send(stopped);
        if stop.resumed.recv().is_err() {
            return;
        }
        match reopen(parts, requests) {
            Some(reopened) => writer = reopened,
            None => return,
        }
    }
}

/// Opens the directory again. As long as that fails, all requests are refused. `None` if all senders are dropped.
fn reopen(parts: &WriterParts, requests: &Receiver<Work>) -> Option<Writer> {
    loop {
        let error = match Writer::take_over(parts.clone(), Left::Early) {
            // What this process has changed, its directory of users has. The other one may have been killed over a
            // change, which it has not answered then.
            Ok((writer, _)) => return Some(writer),
            Err(error) => error,
        };
        tracing::error!(%error, path = %parts.path.display(),
            "history.path: cannot be opened again; nothing is accepted until that works");
        parts.health.set(HistoryState::Failing);
        // Real time, whatever clock the server runs on: the disk uses it, too.
        let clock = Clock::system();
        while clock.now_ms() < millis(REOPEN_EVERY) {
            match requests.recv_timeout(REOPEN_EVERY) {
                Ok(Work::Store(request)) => request.refuse(EngineError::NotStored),
                // Without an answer, the callers know enough.
                Ok(Work::Append(..) | Work::Stop(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

impl Writer {
    /// Opens a directory that another process of the server has left, and continues its history. The log has what that
    /// process has forwarded. Also returns the session changes that only the session log had, so that there is no entry
    /// for them.
    pub(in crate::engine::durable) fn take_over(
        parts: WriterParts,
        left: Left,
    ) -> Result<(Self, Vec<Change>), StoreError> {
        let WriterParts {
            path,
            tail,
            directory,
            clock,
            ..
        } = &parts;
        let (unix_ms, now_ms) = (clock.unix_ms(), clock.now_ms());
        let rules = directory.rules();
        let logged_out = |user: &str, before: &str, at_ms| logged_out(user, before, at_ms, rules);
        let Taken {
            disk,
            everyone_ms,
            replayed,
        } = Disk::take_over(path, parts.options(), unix_ms, &logged_out)?;
        let known = tail.log().newest_id();
        let mut newest = known.max(disk.last_id());
        if let Left::Complete { newest: given, end } = left {
            newest = newest.max(given);
            if disk.end() != end || disk.newest_stored() > known {
                return Err(StoreError::NotHandedOver);
            }
        }
        let sources = disk.read(|reader| Ok(restore_sources(reader, unix_ms, now_ms)))?;
        let sources: Sources = sources.unwrap_or_default();
        let sequencer = Sequencer::after(newest, sources, clock.clone());
        let time = BelievedTime::open(path, false, clock);
        let is_early = matches!(left, Left::Early);
        let mut writer = parts.over(disk, sequencer, Jump::default(), time);
        if is_early {
            writer.catch_up(known)?;
        }
        if let Some(everyone_ms) = everyone_ms {
            writer.directory.log_out_all(everyone_ms);
        }
        writer.begin()?;
        Ok((writer, replayed))
    }

    /// Appends what is stored after `known`, the log's newest entry.
    fn catch_up(&mut self, known: EventId) -> Result<(), StoreError> {
        let (unix_ms, now_ms) = (self.clock.unix_ms(), self.clock.now_ms());
        let tail = &self.tail;
        let mut appended = 0_u64;
        self.disk.read(|reader| {
            reader.events_after(known, |id, entry| {
                let record = Stored::from_json(entry).and_then(|stored| stored.record());
                let Some(record) = record.map_err(|error| error.to_string())? else {
                    return Ok(());
                };
                let accepted_ms = now_ms.saturating_sub(unix_ms.saturating_sub(id.ms));
                let added = tail.append_at(id, accepted_ms, record);
                appended += 1;
                added.map_err(|error| error.to_string())
            })
        })?;
        if self.disk.are_events_missing() {
            let id = self.sequencer.next_id();
            self.tail.append(id, Record::Mark);
            self.tail.lose_before(id);
        }
        tracing::info!(
            events = appended,
            "history.path: read what was not handed over"
        );
        Ok(())
    }
}
