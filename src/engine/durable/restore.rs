//! Puts what is stored into the log and the directory of users at a start.

use std::time::Duration;

use super::disk::Disk;
use super::store::{Reader, StoreError};
use crate::clock::Clock;
use crate::engine::record::Stored;
use crate::engine::sources::{SOURCE_ID_MS, SourceKey, Sources};
use crate::engine::tail::Tail;
use crate::event::{EventId, SessionChange, UserId};
use crate::hub::directory::{Directory, Rules, Standing};

/// If the newest entry is older than `max_age` by this much, a warning is logged: the clock may be wrong.
const IMPLAUSIBLE_MS: u64 = 60 * 60 * 1_000;

/// How ages of stored entries are computed after a start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jump {
    /// How far the clock is ahead of the time that ages are computed by.
    pub(super) ahead_ms: u64,
    /// When that ends, on the monotonic clock.
    pub(super) until_ms: u64,
}

/// What [`restore`] found besides what it put into the log and the directory of users.
pub(super) struct Restored {
    pub(super) sources: Sources,
    /// The newest id that is stored; `None` if nothing is.
    pub(super) newest: Option<EventId>,
}

/// Puts what is stored into the log and the directory of users. Ages of standings are computed by
/// `steady_ms`.
pub(super) fn restore(
    disk: &Disk,
    tail: &Tail,
    directory: &Directory,
    clock: &Clock,
    jump: Jump,
    steady_ms: u64,
) -> Result<Restored, StoreError> {
    let (unix_ms, now_ms) = (clock.unix_ms() - jump.ahead_ms, clock.now_ms());
    let mut sources = Sources::default();
    let rules = directory.rules();
    let mut newest = None;
    let everyone = disk.pending().everyone();
    disk.read(|reader| {
        reader.events(|id, entry| {
            let record = Stored::from_json(entry).and_then(|stored| stored.record());
            let record = record.map_err(|error| error.to_string())?;
            if newest.is_none() {
                // The oldest row is the origin, or usually an event that is no longer retained.
                tail.begin_at(record.as_ref().map_or(id, |_| id.before()));
            }
            if let Some(record) = record {
                let age = Duration::from_millis(unix_ms.saturating_sub(id.ms));
                tail.restore(id, age, record);
            }
            newest = Some(id);
            Ok(())
        })?;
        let settled = tail.log().head();
        reader.sessions(|user, standing| {
            let mut standing: Standing =
                serde_json::from_str(standing).map_err(|error| error.to_string())?;
            // Everything in the database is older than the log-out of everyone.
            if let Some((_, at_ms)) = everyone {
                standing.log_out(at_ms, rules);
            }
            directory.restore(user, standing, steady_ms, settled);
            Ok(())
        })?;
        sources = restore_sources(reader, unix_ms, now_ms);
        Ok(())
    })?;
    let settled = tail.log().head();
    let everyone_ms = disk.everyone_ms();
    for (number, user, standing) in disk.pending().sessions() {
        // Its checksum was right when the session log was read. If this version cannot read it, the user is
        // logged out.
        let mut standing = serde_json::from_str(standing)
            .unwrap_or_else(|_| Standing::logged_out(everyone_ms.max(unix_ms), rules));
        if let Some((everyone, at_ms)) = everyone
            && number < everyone
        {
            standing.log_out(at_ms, rules);
        }
        directory.restore(user, standing, steady_ms, settled);
    }
    Ok(Restored { sources, newest })
}

/// The publishers' ids that are stored and not forgotten. Ages are computed by `unix_ms`.
pub(super) fn restore_sources(reader: Reader<'_>, unix_ms: u64, now_ms: u64) -> Sources {
    let mut sources = Sources::default();
    reader.sources(|seen_ms, source, id| {
        let left_ms = SOURCE_ID_MS.saturating_sub(unix_ms.saturating_sub(seen_ms));
        if left_ms > 0
            && let Some(key) = SourceKey::from_text(source)
        {
            sources.remember(key, id, now_ms + left_ms);
        }
    });
    sources
}

/// A user's standing after a log-out of everyone, as JSON. `before` is the one before.
pub(super) fn logged_out(user: &str, before: &str, at_unix_ms: u64, rules: Rules) -> String {
    let before: Option<Standing> = serde_json::from_str(before).ok();
    let standing = match UserId::new(user) {
        Ok(user) => {
            let change = SessionChange {
                user,
                keep: None,
                at_unix_ms,
            };
            Standing::after(&change, 0, before.as_ref(), rules)
        }
        Err(_) => Standing::logged_out(at_unix_ms, rules),
    };
    to_json(&standing)
}

pub(super) fn to_json(standing: &Standing) -> String {
    serde_json::to_string(standing).expect("texts and numbers serialise")
}

impl Jump {
    /// If everything that is stored is too old, either the server was down for long or the clock is wrong,
    /// and the server cannot tell which. Then ages are computed as if the newest entry were new.
    pub(super) fn between(newest: EventId, unix_ms: u64, max_age_ms: u64) -> Self {
        let ahead_ms = unix_ms.saturating_sub(newest.ms);
        if newest == EventId::default() || ahead_ms <= max_age_ms {
            return Self::default();
        }
        if ahead_ms > max_age_ms.saturating_add(IMPLAUSIBLE_MS) {
            tracing::warn!(
                newest_age_s = ahead_ms / 1_000,
                "history.path: the newest event is much older than history.max_age; if the server was not down for that long, the clock is wrong; what was retained is kept for another max_age"
            );
        }
        Self {
            ahead_ms,
            until_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::durable::tests::log_of;

    const MAX_AGE_MS: u64 = 600_000;

    #[test]
    fn a_jump_of_the_clock_keeps_what_was_retained_and_an_implausible_one_is_warned_of() {
        let newest = EventId { ms: 1_000, seq: 7 };
        for (ahead_ms, kept_ms, is_warned) in [
            (MAX_AGE_MS, 0, false),
            (MAX_AGE_MS + 1, MAX_AGE_MS + 1, false),
            (
                MAX_AGE_MS + IMPLAUSIBLE_MS,
                MAX_AGE_MS + IMPLAUSIBLE_MS,
                false,
            ),
            (24 * IMPLAUSIBLE_MS, 24 * IMPLAUSIBLE_MS, true),
        ] {
            let mut jump = Jump::default();
            let log = log_of(|| jump = Jump::between(newest, 1_000 + ahead_ms, MAX_AGE_MS));
            assert_eq!(jump.ahead_ms, kept_ms);
            assert_eq!(log.contains("WARN"), is_warned, "{ahead_ms}: {log}");
            assert_eq!(log.contains("the clock is wrong"), is_warned, "{log}");
        }
        let nothing = Jump::between(EventId::default(), 24 * IMPLAUSIBLE_MS, MAX_AGE_MS);
        assert_eq!(nothing.ahead_ms, 0);
    }
}
