//! Reads the tables, and skips rows whose checksum is wrong.

use rusqlite::{Connection, OptionalExtension};

use super::error::StoreError;
use super::row::{signed, unsigned};
use super::tables::{
    FORMAT_WITHOUT_CHECKSUMS, StoreState, event_checksum, session_checksum, source_checksum,
};
use crate::event::EventId;

/// Highest number of steps over pages that cannot be read. Each step is twice as far as the one before.
const MAX_STEPS: u32 = 40;

/// A database and its format, which decides whether its rows have checksums.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::durable) struct Reader<'a> {
    db: &'a Connection,
    format: i64,
}

/// What was found when the events were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::durable) struct Events {
    pub(in crate::engine::durable) oldest: Option<i64>,
    pub(in crate::engine::durable) last: i64,
    pub(in crate::engine::durable) last_id: EventId,
    /// Number of rows that are missing or altered.
    pub(in crate::engine::durable) missing: u64,
    /// The id before the first of these.
    pub(in crate::engine::durable) missing_after: Option<EventId>,
    /// SQLite could not read all of the table.
    pub(in crate::engine::durable) is_broken: bool,
}

/// What was found when a database was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::durable) struct Verified {
    pub(in crate::engine::durable) events: Events,
    pub(in crate::engine::durable) state: StoreState,
    /// No session is missing, altered or outdated.
    pub(in crate::engine::durable) are_sessions_sound: bool,
    /// No publisher's own id is altered.
    pub(in crate::engine::durable) are_sources_sound: bool,
    /// SQLite finds no fault with its pages.
    pub(in crate::engine::durable) is_structure_sound: bool,
}

impl Events {
    fn note_missing(&mut self, count: u64) {
        if count > 0 {
            self.missing += count;
            self.missing_after.get_or_insert(self.last_id);
        }
    }
}

impl Verified {
    /// Returns true if nothing was ever stored in it.
    pub(in crate::engine::durable) fn is_empty(&self) -> bool {
        self.is_sound() && self.events.oldest.is_none() && self.state == StoreState::default()
    }

    pub(in crate::engine::durable) fn is_sound(&self) -> bool {
        self.events.missing == 0
            && !self.events.is_broken
            && self.are_sessions_sound
            && self.are_sources_sound
            && self.is_structure_sound
    }
}

impl<'a> Reader<'a> {
    pub(in crate::engine::durable) fn new(db: &'a Connection, format: i64) -> Self {
        Self { db, format }
    }

    /// Reads and checks everything.
    pub(in crate::engine::durable) fn verify(self) -> Verified {
        let structure = self
            .db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let nothing = |_: EventId, _: &str| Ok(());
        Verified {
            events: self.events(nothing).unwrap_or(Events {
                is_broken: true,
                ..Events::default()
            }),
            state: self.state().unwrap_or_default(),
            are_sessions_sound: self.sessions(|_, _| Ok(())).unwrap_or(false)
                && self.state().is_some(),
            are_sources_sound: self.sources(|_, _, _| ()),
            is_structure_sound: structure.is_ok_and(|verdict| verdict == "ok"),
        }
    }

    /// Checks the newest event. If it is whole, the rest counts as whole, too: a process that has run until now has
    /// written and verified it. Otherwise checks everything.
    pub(in crate::engine::durable) fn verify_end(self) -> Verified {
        match (self.end(), self.state()) {
            (Ok(Some(events)), Some(state)) => Verified {
                events,
                state,
                are_sessions_sound: true,
                are_sources_sound: true,
                is_structure_sound: true,
            },
            _ => self.verify(),
        }
    }

    /// The ends of the events' table, if the newest one is whole.
    fn end(self) -> Result<Option<Events>, StoreError> {
        let (oldest, last) = self
            .db
            .query_row("SELECT min(n), max(n) FROM events", [], |row| {
                Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
        let Some(last) = last else {
            return Ok(None);
        };
        let mut events = Events::default();
        self.events_from(last, &mut events, &mut |_, _| Ok(()))?;
        let is_whole = events.missing == 0 && events.last == last;
        Ok(is_whole.then_some(Events { oldest, ..events }))
    }

    /// Number of the newest event up to `id`. `None` if there is none.
    fn newest(self, id: EventId) -> Result<Option<i64>, StoreError> {
        // From the end, because it is near.
        let newest = self.db.query_row(
            "SELECT n FROM events WHERE ms < ?1 OR (ms = ?1 AND seq <= ?2) ORDER BY n DESC LIMIT 1",
            [signed(id.ms), signed(id.seq)],
            |row| row.get(0),
        );
        Ok(newest.optional()?)
    }

    /// Passes the entries after `id` to `each`, the oldest first.
    ///
    /// # Errors
    /// If they cannot be read, or if `each` rejects one.
    pub(in crate::engine::durable) fn events_after(
        self,
        id: EventId,
        mut each: impl FnMut(EventId, &str) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let before = self.newest(id)?;
        let from = before.map_or(i64::MIN, |before| before + 1);
        self.events_from(from, &mut Events::default(), &mut each)
    }

    /// Passes every entry whose checksum is right to `each`, the oldest first.
    ///
    /// # Errors
    /// If `each` rejects one.
    pub(in crate::engine::durable) fn events(
        self,
        mut each: impl FnMut(EventId, &str) -> Result<(), String>,
    ) -> Result<Events, StoreError> {
        let mut read = Events::default();
        let mut from = i64::MIN;
        for step in 0..MAX_STEPS {
            match self.events_from(from, &mut read, &mut each) {
                Ok(()) => break,
                Err(error @ StoreError::Unreadable { .. }) => return Err(error),
                Err(_) => read.is_broken = true,
            }
            // A page cannot be read. Rows after it may still be readable.
            from = (read.last + 1).max(from.max(0)) + (1_i64 << step);
        }
        Ok(read)
    }

    fn events_from(
        self,
        from: i64,
        read: &mut Events,
        each: &mut impl FnMut(EventId, &str) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let column = self.checksum_column();
        let mut statement = self.db.prepare(&format!(
            "SELECT n, ms, seq, entry, {column} FROM events WHERE n >= ?1 ORDER BY n"
        ))?;
        let mut rows = statement.query([from])?;
        // Altered rows since the last one whose checksum is right.
        let mut altered = 0;
        while let Some(row) = rows.next()? {
            let n: i64 = row.get(0)?;
            let columns = (row.get(1), row.get(2), row.get_ref(3)?.as_str());
            let (Ok(ms), Ok(seq), Ok(entry)) = columns else {
                altered += 1;
                continue;
            };
            let id = EventId {
                ms: unsigned(ms),
                seq: unsigned(seq),
            };
            let follows = read.oldest.is_none() || (n > read.last && id > read.last_id);
            if !follows || !self.is_whole(row, 4, || event_checksum(n, id, entry)) {
                altered += 1;
                continue;
            }
            each(id, entry).map_err(|why| StoreError::Unreadable {
                table: "events",
                what: id.to_string(),
                why,
            })?;
            let missing = match read.oldest {
                Some(_) => (n - read.last - 1).unsigned_abs(),
                None => altered,
            };
            read.note_missing(missing);
            read.oldest.get_or_insert(n);
            altered = 0;
            (read.last, read.last_id) = (n, id);
        }
        read.note_missing(altered);
        Ok(())
    }

    /// Passes every session whose checksum is right to `each`, by user. Returns false if one is missing or
    /// altered.
    ///
    /// # Errors
    /// If `each` rejects one.
    pub(in crate::engine::durable) fn sessions(
        self,
        mut each: impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<bool, StoreError> {
        match self.all_sessions(&mut each) {
            Ok(is_sound) => Ok(is_sound),
            Err(error @ StoreError::Unreadable { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn all_sessions(
        self,
        each: &mut impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<bool, StoreError> {
        let column = self.checksum_column();
        let mut statement = self.db.prepare(&format!(
            "SELECT user, standing, {column} FROM sessions ORDER BY user"
        ))?;
        let mut rows = statement.query([])?;
        let mut before: Option<String> = None;
        let (mut is_sound, mut all) = (true, 0);
        while let Some(row) = rows.next()? {
            let (Ok(user), Ok(standing)) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str())
            else {
                is_sound = false;
                continue;
            };
            let follows = before.as_deref().is_none_or(|before| before < user);
            let checksum = || session_checksum(user, standing);
            if !follows || !self.is_whole(row, 2, checksum) {
                is_sound = false;
                continue;
            }
            each(user, standing).map_err(|why| StoreError::Unreadable {
                table: "sessions",
                what: user.to_owned(),
                why,
            })?;
            all ^= checksum();
            before = Some(user.to_owned());
        }
        let sum: Option<i64> = match self.format {
            FORMAT_WITHOUT_CHECKSUMS => Some(all),
            _ => self
                .db
                .query_row("SELECT sessions FROM state", [], |row| row.get(0))
                .optional()?,
        };
        Ok(is_sound && sum == Some(all))
    }

    /// Passes every publisher's own id whose checksum is right to `each`, the oldest first: when it was seen,
    /// the id, and its event's id. Returns false if one is altered, or if the table cannot be read.
    pub(in crate::engine::durable) fn sources(
        self,
        mut each: impl FnMut(u64, &str, EventId),
    ) -> bool {
        self.all_sources(&mut each).unwrap_or(false)
    }

    fn all_sources(self, each: &mut impl FnMut(u64, &str, EventId)) -> rusqlite::Result<bool> {
        let column = self.checksum_column();
        let mut statement = self.db.prepare(&format!(
            "SELECT seen_ms, source, ms, seq, {column} FROM sources ORDER BY seen_ms"
        ))?;
        let mut rows = statement.query([])?;
        let mut is_sound = true;
        while let Some(row) = rows.next()? {
            let numbers = (row.get(0), row.get(2), row.get(3));
            let (Ok(seen_ms), Ok(ms), Ok(seq)) = numbers else {
                is_sound = false;
                continue;
            };
            let Ok(source) = row.get_ref(1)?.as_str() else {
                is_sound = false;
                continue;
            };
            let seen_ms = unsigned(seen_ms);
            let id = EventId {
                ms: unsigned(ms),
                seq: unsigned(seq),
            };
            if self.is_whole(row, 4, || source_checksum(seen_ms, source, id)) {
                each(seen_ms, source, id);
            } else {
                is_sound = false;
            }
        }
        Ok(is_sound)
    }

    /// One user's session. It is an error if it is altered.
    pub(super) fn session(self, user: &str) -> Result<Option<String>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT standing, checksum FROM sessions WHERE user = ?1")?;
        let row: Option<(String, i64)> = statement
            .query_row([user], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match row {
            Some((standing, sum)) if sum == session_checksum(user, &standing) => Ok(Some(standing)),
            Some(_) => Err(StoreError::Unreadable {
                table: "sessions",
                what: user.to_owned(),
                why: "its checksum is wrong".to_owned(),
            }),
            None => Ok(None),
        }
    }

    /// The row of `state`; `None` if it is altered or missing.
    pub(super) fn state(self) -> Option<StoreState> {
        if self.format == FORMAT_WITHOUT_CHECKSUMS {
            return Some(StoreState::default());
        }
        let row = self.db.query_row(
            "SELECT changes, everyone_ms, checksum FROM state",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?)),
        );
        let (changes, everyone_ms, sum) = row.ok()?;
        let state = StoreState {
            changes: unsigned(changes),
            everyone_ms: unsigned(everyone_ms),
        };
        (state.checksum() == sum).then_some(state)
    }

    fn checksum_column(self) -> &'static str {
        match self.format {
            FORMAT_WITHOUT_CHECKSUMS => "NULL",
            _ => "checksum",
        }
    }

    /// Returns true if the checksum in `column` is the expected one, or if the format has none.
    fn is_whole(
        self,
        row: &rusqlite::Row<'_>,
        column: usize,
        expected: impl FnOnce() -> i64,
    ) -> bool {
        self.format == FORMAT_WITHOUT_CHECKSUMS
            || row.get::<_, i64>(column).is_ok_and(|sum| sum == expected())
    }
}
