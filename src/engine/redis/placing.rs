//! Places entries of the store's log into this node's.

use std::sync::Arc;

use super::core::{Attached, Core};
use super::ended;
use super::entries::StreamEntry;
use super::loss::Loss;
use crate::engine::reconcile::{Included, kept};
use crate::engine::record::Stored;
use crate::event::{EventId, UserId};
use crate::hub::log::{Control, Record};

/// What is known about entries that are still to be read.
#[derive(Debug, Default)]
pub(super) struct Placing {
    included: Included,
}

impl Placing {
    /// Changes in `included` are not applied again.
    pub(super) fn new(included: Included) -> Self {
        Self { included }
    }

    /// Appends an entry to this node's log.
    pub(super) fn place(
        &mut self,
        core: &Arc<Core>,
        attached: &Arc<Attached>,
        entry: &StreamEntry,
    ) -> Result<(), Loss> {
        let id = entry.id;
        let record = match stored(entry) {
            Some(Stored::Control {
                disconnect,
                by,
                number,
            }) => match UserId::new(&disconnect) {
                Ok(user) => {
                    let receipt = ended::report(core, attached, &by, number);
                    Record::Control {
                        control: Control::Disconnect { user },
                        receipt,
                    }
                }
                Err(_) => Record::Mark,
            },
            Some(stored) => {
                let record = readable(&stored, id).unwrap_or(Record::Mark);
                self.included.record(record, id)
            }
            None => Record::Mark,
        };
        let is_change = matches!(record, Record::Session { .. });
        let age_ms = core.unix_ms().saturating_sub(id.ms);
        let accepted_ms = core.clock.now_ms().saturating_sub(age_ms);
        core.tail.append_at(id, accepted_ms, record)?;
        core.state.set_seen(id);
        if is_change {
            core.changed.send_replace(id);
        }
        Ok(())
    }
}

/// The record of an entry that was stored before this node attached, and is not delivered now; `None` if it is not
/// kept.
pub(super) fn past_record(entry: &StreamEntry) -> Option<Record> {
    match stored(entry) {
        Some(Stored::Control { .. }) => None,
        Some(stored) => kept(readable(&stored, entry.id).unwrap_or(Record::Mark)),
        None => Some(Record::Mark),
    }
}

/// The stored form of an entry; `None` if this version does not know it. A later version may store other kinds,
/// which are not for this one.
fn stored(entry: &StreamEntry) -> Option<Stored<'_>> {
    let json = std::str::from_utf8(&entry.value).ok()?;
    let stored = Stored::from_json(json);
    if let Err(error) = &stored {
        unreadable(entry.id, error);
    }
    stored.ok()
}

fn readable(stored: &Stored<'_>, id: EventId) -> Option<Record> {
    stored
        .record()
        .inspect_err(|error| unreadable(id, error))
        .ok()?
}

fn unreadable(id: EventId, error: &dyn std::fmt::Display) {
    tracing::warn!(%id, %error, "an entry of the log in Redis cannot be read, and is skipped");
}
