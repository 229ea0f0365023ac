//! Compares this node's log with the store's, and brings both together.

use std::sync::Arc;
use std::time::Duration;

use super::link::LinkLost;
use super::node::Node;
use super::place::StorePlace;
use super::placing::past_record;
use super::sessions;
use super::store::FoundStore;
use crate::engine::reconcile::{CommonSearch, Included, forget, lost_changes};
use crate::engine::record::Stored;
use crate::event::EventId;
use crate::hub::engine::Verdict;
use crate::hub::log::Entry;

/// Attaches the node to whoever leads. Returns the changes that its standings include already.
pub(super) async fn attach(node: &Node) -> Result<(FoundStore, Included), LinkLost> {
    let known = node.known();
    let found = node
        .link
        .write(None, move |state| state.attach(known))
        .await?;
    let included = bring_together(node, &found).await?;
    if let Some(lost) = node.owed() {
        let until = sessions::write_back(node, &found, &lost).await?;
        node.wrote_back(until);
    }
    let seen = node.seen();
    tracing::debug!(node = %node.name, verdict = found.verdict.label(), ?seen, "attached");
    Ok((found, included))
}

/// Acts on the verdict. Afterwards this node's log is the store's, up to what it has seen.
async fn bring_together(node: &Node, found: &FoundStore) -> Result<Included, LinkLost> {
    match found.verdict {
        Verdict::Start => {
            // Whatever can fail comes first: afterwards the node has seen what is there.
            let rows = sessions::rows(node, found.run).await?;
            refill(node, found).await?;
            Ok(sessions::load(node, rows))
        }
        Verdict::Resume => Ok(Included::default()),
        Verdict::Trimmed => {
            let rows = sessions::rows(node, found.run).await?;
            // What the streams have missed is not known any more.
            node.tail.restart_before(found.first.into()).await;
            let before = EventId::from(found.first).before();
            node.set_seen(found.epoch, before.into());
            Ok(sessions::load(node, rows))
        }
        Verdict::Forked => {
            let lost = match newest_common(node, found).await? {
                Some(common) => {
                    node.set_seen(found.epoch, common.into());
                    node.tail.truncate_after(common)
                }
                None => begin_before(node, found).await,
            };
            node.owe(lost_changes(&lost));
            Ok(Included::default())
        }
        Verdict::NewLog => {
            let lost = begin_before(node, found).await;
            node.owe(lost_changes(&lost));
            Ok(Included::default())
        }
    }
}

/// Drops this node's log, and begins before the first entry of the store's.
async fn begin_before(node: &Node, found: &FoundStore) -> Vec<Arc<Entry>> {
    let first = EventId::from(found.first);
    let lost = forget(&node.tail, first).await;
    node.set_seen(found.epoch, first.before().into());
    lost
}

/// Fills this node's log with what was there when the node attached. It counts as dispatched.
async fn refill(node: &Node, found: &FoundStore) -> Result<(), LinkLost> {
    let all = node
        .link
        .read(found.run, |state| {
            state.after(StorePlace::default(), usize::MAX)
        })
        .await?;
    let is_origin = |json: &str| matches!(Stored::from_json(json), Ok(Stored::Origin {}));
    let begins = all.first().is_some_and(|first| is_origin(&first.json));
    let first = EventId::from(found.first);
    // An origin is the position of clients that came before the first event. Any other first entry had something
    // before it, which is gone.
    node.tail.reset(if begins { first } else { first.before() });
    for entry in all.iter().skip(usize::from(begins)) {
        if entry.place > found.newest {
            break;
        }
        if let Some(record) = past_record(entry) {
            let age_ms = node.clock.unix_ms().saturating_sub(entry.at_ms);
            let age = Duration::from_millis(age_ms);
            node.tail.restore(entry.place.into(), age, record);
        }
    }
    node.set_seen(found.epoch, found.newest);
    Ok(())
}

async fn newest_common(node: &Node, found: &FoundStore) -> Result<Option<EventId>, LinkLost> {
    let ids = node.tail.log().retained_ids();
    let mut search = CommonSearch::new(ids, Some(found.first.into()));
    while let Some(id) = search.question() {
        let has = |state: &super::store::SimulatedState| state.has(id.into());
        search.answer(node.link.read(found.run, has).await?);
    }
    Ok(search.common())
}
