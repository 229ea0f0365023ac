//! The start of the writer: opens the directory, restores what it holds, and continues its history.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::sweep::Sweep;
use super::writer::Writer;
use crate::clock::{Clock, millis};
use crate::config::{Fsync, History};
use crate::engine::durable::believed::BelievedTime;
use crate::engine::durable::bounds::Bounds;
use crate::engine::durable::disk::{Disk, Options};
use crate::engine::durable::health::{HistoryState, SharedState};
use crate::engine::durable::restore::{Jump, logged_out, restore};
use crate::engine::durable::store::{Retention, Row, StoreError};
use crate::engine::durable::sync::Syncer;
use crate::engine::record::Stored;
use crate::engine::sequencer::Sequencer;
use crate::engine::sources::SOURCE_ID_MS;
use crate::engine::tail::Tail;
use crate::event::{EventId, EventName, Target, Users};
use crate::hub::directory::Directory;
use crate::hub::log::Record;

/// What a writer is made of, besides the open directory.
#[derive(Clone)]
pub(in crate::engine::durable) struct WriterParts {
    /// The directory.
    pub(in crate::engine::durable) path: PathBuf,
    pub(in crate::engine::durable) history: History,
    pub(in crate::engine::durable) bounds: Bounds,
    pub(in crate::engine::durable) tail: Tail,
    pub(in crate::engine::durable) directory: Arc<Directory>,
    pub(in crate::engine::durable) clock: Clock,
    pub(in crate::engine::durable) health: Arc<SharedState>,
    /// Longest wait for a process that still has the directory.
    pub(in crate::engine::durable) lock_patience: Duration,
}

impl WriterParts {
    /// How the directory is used.
    pub(super) fn options(&self) -> Options {
        Options {
            fsync: self.history.fsync,
            on_damage: self.history.on_damage,
            lock_patience: self.lock_patience,
        }
    }

    /// The writer over an open directory, whose ids continue after those of the sequencer.
    pub(super) fn over(
        self,
        disk: Disk,
        sequencer: Sequencer,
        jump: Jump,
        time: BelievedTime,
    ) -> Writer {
        Writer {
            options: self.options(),
            bounds: self.bounds,
            syncer: None,
            tail: self.tail,
            sequencer,
            directory: self.directory,
            health: self.health,
            ticks: Clock::system(),
            next_tick_ms: 0,
            jump,
            is_wal_long: false,
            time,
            sweep: Sweep::new(self.clock.now_ms()),
            disk,
            clock: self.clock,
        }
    }
}

impl Writer {
    /// Opens the history's directory and restores its contents into the log and the directory of users.
    pub(in crate::engine::durable) fn open(parts: WriterParts) -> Result<Self, StoreError> {
        let WriterParts {
            path,
            history,
            tail,
            directory,
            clock,
            ..
        } = &parts;
        let unix_ms = clock.unix_ms();
        let rules = directory.rules();
        let logged_out = |user: &str, before: &str, at_ms| logged_out(user, before, at_ms, rules);
        let disk = Disk::open(path, parts.options(), unix_ms, &logged_out)?;
        let jump = Jump::between(disk.newest_stored(), unix_ms, millis(history.max_age));
        let is_new = disk.last_id() == EventId::default() && disk.changes() == 0;
        let mut time = BelievedTime::open(path, is_new, clock);
        let steady_ms = time.unix_ms(clock);
        directory.begin_at(time.steady());
        let restored = restore(&disk, tail, directory, clock, jump, steady_ms)?;
        let (bytes, entries) = tail.log().retained();
        tracing::info!(path = %path.display(), entries, bytes, "history read");
        let last_id = restored.newest.unwrap_or_default().max(disk.last_id());
        let sequencer = Sequencer::after(last_id, restored.sources, clock.clone());
        let jump = Jump {
            until_ms: clock.now_ms() + SOURCE_ID_MS,
            ..jump
        };
        let mut writer = parts.over(disk, sequencer, jump, time);
        if restored.newest.is_none() {
            writer.begin_history()?;
        } else if writer.disk.are_events_missing() {
            writer.note_loss()?;
        }
        writer.begin()?;
        Ok(writer)
    }

    /// Begins to accept.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.apply_log_out_of_everyone();
        self.health.set(if self.disk.is_writable() {
            HistoryState::Well
        } else {
            HistoryState::Full
        });
        self.start_syncer()
    }

    /// Stores the position of clients that come before the first event, so that it is still known after a restart.
    /// If the disk cannot be written, it is known until then only.
    fn begin_history(&mut self) -> Result<(), StoreError> {
        let mut id = self.tail.log().dispatched_cursor().id;
        if id <= self.sequencer.last_id() {
            // Ids continue after those of events that are lost.
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

    /// Adds an event without recipients after a loss. Clients with an older id get a gap. Clients that have nothing
    /// to replay get the event's id as their position.
    fn note_loss(&mut self) -> Result<(), StoreError> {
        let id = self.sequencer.next_id();
        let (to, name) = (Target::Users(Users::new(Vec::new())), EventName::default());
        if self.disk.is_writable() {
            let entry = Stored::event(&to, &name, "").to_json();
            let row = Row::Event { id, entry };
            self.disk.commit(&[row], id, self.limits())?;
        } else {
            // The id must not be given out again.
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

    /// Starts to flush once a second, if that is configured and there is a database to flush.
    pub(super) fn start_syncer(&mut self) -> Result<(), StoreError> {
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
}
