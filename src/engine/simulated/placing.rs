//! Places entries of the store into this node's log.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::node::Node;
use super::store::StoreEntry;
use crate::engine::reconcile::{Included, kept};
use crate::engine::record::Stored;
use crate::event::{EventId, UserId};
use crate::hub::log::{Control, NotRising, Receipt, Record};

/// Appends an entry to this node's log.
pub(super) fn place(
    node: &Arc<Node>,
    included: &mut Included,
    entry: &StoreEntry,
) -> Result<(), NotRising> {
    let id = EventId::from(entry.place);
    let record = match Stored::from_json(&entry.json) {
        Ok(Stored::Control {
            disconnect,
            by,
            number,
        }) => UserId::new(&disconnect).map_or(Record::Mark, |user| Record::Control {
            control: Control::Disconnect { user },
            receipt: report(node, (by.into_owned(), number)),
        }),
        Ok(stored) => match included.record(readable(&stored), id) {
            // Appended again after its loss.
            Record::Session { change, .. } if node.has_applied(&change) => Record::Mark,
            record => record,
        },
        Err(_) => Record::Mark,
    };
    let date = match &record {
        Record::Session { change, .. } => Some(change.at_unix_ms),
        _ => None,
    };
    let age_ms = node.clock.unix_ms().saturating_sub(entry.at_ms);
    let accepted_ms = node.clock.now_ms().saturating_sub(age_ms);
    node.tail.append_at(id, accepted_ms, record)?;
    node.advance(entry.place);
    if let Some(unix_ms) = date {
        node.note_date(unix_ms);
        node.changed.send_replace(id);
    }
    Ok(())
}

/// The record of an entry from before this node attached; `None` if it is not kept.
pub(super) fn past_record(entry: &StoreEntry) -> Option<Record> {
    match Stored::from_json(&entry.json) {
        Ok(Stored::Control { .. }) => None,
        Ok(stored) => kept(readable(&stored)),
        Err(_) => Some(Record::Mark),
    }
}

fn readable(stored: &Stored<'_>) -> Record {
    stored.record().ok().flatten().unwrap_or(Record::Mark)
}

/// The receipt of a control entry. The store is told when the entry has been carried out here.
fn report(node: &Arc<Node>, request: (String, u64)) -> Receipt {
    let share = Arc::new(Semaphore::new(1)).try_acquire_owned();
    let (receipt, ended) = Receipt::new(share.expect("a new semaphore has its permit"));
    let node = Arc::clone(node);
    tokio::spawn(async move {
        // The log was truncated, or the node shuts down.
        let Ok(ended) = ended.await else { return };
        let name = node.name.clone();
        let answer = node.link.write(None, move |state| {
            state.members.answer(request, &name, ended);
        });
        // The node that asks gives up if an answer does not arrive.
        let _ = answer.await;
    });
    receipt
}
