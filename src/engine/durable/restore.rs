//! A start: puts what is stored into the log and the directory of users.

use std::time::Duration;

use super::disk::Disk;
use super::record::Stored;
use super::store::StoreError;
use crate::clock::Clock;
use crate::directory::{Directory, Standing};
use crate::engine::sources::{SOURCE_ID_MS, Sources};
use crate::event::{EventId, SessionChange, UserId};
use crate::log::Log;

/// A newest entry that is older than `max_age` by so much is worth a warning: the clock may be wrong.
const IMPLAUSIBLE_MS: u64 = 60 * 60 * 1_000;

/// How the ages of what is stored are told at a start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jump {
    /// So much the clock is ahead of what is taken for now.
    pub(super) ahead_ms: u64,
    /// Until then, on the monotonic clock.
    pub(super) until_ms: u64,
}

/// Puts what is stored into the log and the directory of users. The publishers' own ids, and the
/// newest id.
pub(super) fn restore(
    disk: &Disk,
    log: &Log,
    directory: &Directory,
    clock: &Clock,
    jump: Jump,
) -> Result<(Sources, EventId), StoreError> {
    let (unix_ms, now_ms) = (clock.unix_ms() - jump.ahead_ms, clock.now_ms());
    let mut sources = Sources::default();
    let newest = disk.read(|reader| {
        let events = reader.events(|id, entry| {
            let record = Stored::from_json(entry).and_then(|stored| stored.record(id));
            let record = record.map_err(|error| error.to_string())?;
            let age = Duration::from_millis(unix_ms.saturating_sub(id.ms));
            log.restore(id, age, now_ms, record);
            Ok(())
        })?;
        let settled = log.head();
        reader.sessions(|user, standing| {
            let standing: Standing =
                serde_json::from_str(standing).map_err(|error| error.to_string())?;
            directory.restore(user, standing, settled);
            Ok(())
        })?;
        reader.sources(|seen_ms, source, id| {
            let left_ms = SOURCE_ID_MS.saturating_sub(unix_ms.saturating_sub(seen_ms));
            if left_ms > 0 {
                sources.remember(source.into(), id, now_ms + left_ms);
            }
        });
        Ok(events.last_id)
    })?;
    let settled = log.head();
    let everyone_ms = disk.everyone_ms();
    for (user, standing) in disk.pending() {
        // Checked when it was read from the session log; what this version cannot read logs out.
        let standing = serde_json::from_str(standing)
            .unwrap_or_else(|_| Standing::logged_out(everyone_ms.max(unix_ms)));
        directory.restore(user, standing, settled);
    }
    Ok((sources, newest.unwrap_or_default()))
}

/// What a user's session is after a log-out of everyone.
pub(super) fn logged_out(user: &str, before: &str, at_unix_ms: u64) -> String {
    let before: Option<Standing> = serde_json::from_str(before).ok();
    let standing = match UserId::new(user) {
        Ok(user) => {
            let change = SessionChange {
                user,
                keep: None,
                at_unix_ms,
            };
            Standing::after(&change, before.as_ref())
        }
        Err(_) => Standing::logged_out(at_unix_ms),
    };
    to_json(&standing)
}

pub(super) fn to_json(standing: &Standing) -> String {
    serde_json::to_string(standing).expect("texts and numbers serialise")
}

impl Jump {
    /// Where everything that is stored is too old, either nobody was here for long or the clock is
    /// wrong, and nobody can tell which: ages are told as if the newest entry were of now.
    pub(super) fn between(newest: EventId, unix_ms: u64, max_age_ms: u64) -> Self {
        let ahead_ms = unix_ms.saturating_sub(newest.ms);
        if newest == EventId::default() || ahead_ms <= max_age_ms {
            return Self::default();
        }
        if ahead_ms > max_age_ms.saturating_add(IMPLAUSIBLE_MS) {
            tracing::warn!(
                newest_age_s = ahead_ms / 1_000,
                "history.path: the newest event is much older than history.max_age; if the server did not stand still for so long, the clock is wrong; what was retained then is kept for max_age from now"
            );
        }
        Self {
            ahead_ms,
            until_ms: 0,
        }
    }
}
