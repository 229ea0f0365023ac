//! What the writer does once a second: it looks for missing files, measures the write-ahead log, removes what need
//! not be kept, and tries again what failed.

use super::writer::Writer;
use crate::engine::durable::health::HistoryState;
use crate::engine::durable::restore::logged_out;
use crate::engine::durable::store::StoreError;
use crate::hub::directory::Standing;

impl Writer {
    /// Does all of it but the sweep.
    pub(super) fn tick(&mut self) {
        // Even if the disk cannot be written: the believed time follows only a clock that is read regularly.
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

    /// Reports files that were deleted or replaced, and notices when they are back.
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

    /// Opens the database that could not be written at the start. Returns true if it can be written now.
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

    /// Checks the length of the write-ahead log, which cannot be emptied while a reader's transaction is open.
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

    /// Removes rows that need not be kept, and stores session changes that the database does not have yet. If
    /// something failed before, this finds out whether it works again.
    fn tidy(&mut self) -> Result<(), StoreError> {
        let limits = self.limits();
        let Some(store) = self.disk.store() else {
            return Ok(());
        };
        match self.health.get() {
            HistoryState::Unflushed => store.checkpoint(true)?,
            state if state.is_failing() => {
                store.probe()?;
                // Stores the session changes that the database does not have.
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

    /// Notices that the mark could not be written. What was stored with it is accepted all the same: the mark is
    /// empty now, which counts as damage at the next start.
    pub(super) fn look_at_mark(&self) {
        if self.disk.is_mark_failing() && self.health.get() == HistoryState::Well {
            self.health.set(HistoryState::Failing);
        }
    }

    /// Applies the last log-out of everyone to users without a standing, for as long as a token from before it can
    /// be valid.
    pub(super) fn apply_log_out_of_everyone(&mut self) {
        let everyone_ms = self.disk.everyone_ms();
        let rules = self.directory.rules();
        let unix_ms = self.time.unix_ms(&self.clock);
        let is_over = Standing::logged_out(everyone_ms, rules).is_over(unix_ms, rules);
        self.directory
            .log_everyone_out(if is_over { 0 } else { everyone_ms });
    }

    /// Removes some of the session rows that nothing depends on any more. It reads the database, not the directory:
    /// a change that is stored may not have reached the directory yet.
    pub(super) fn sweep(&mut self) {
        let now_ms = self.clock.now_ms();
        if !self.sweep.is_due(now_ms) || self.health.get() != HistoryState::Well {
            return;
        }
        // A user's row may be outdated then, and the commit would first store the new one and then remove it.
        if self.disk.has_pending() {
            return;
        }
        let Some(store) = self.disk.store() else {
            return;
        };
        let rules = self.directory.rules();
        let unix_ms = self.time.unix_ms(&self.clock);
        let piece = self.sweep.next_piece(store, now_ms, unix_ms, rules);
        let swept = piece.and_then(|(over, last)| {
            if !over.is_empty() {
                self.disk
                    .commit(&over, self.sequencer.last_id(), self.limits())?;
            }
            Ok(last)
        });
        match swept {
            Ok(last) => self.sweep.continue_after(last),
            Err(error) => self.fail(&error),
        }
    }
}
