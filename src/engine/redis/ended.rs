//! How many connections a control entry has ended, added up over all nodes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::answers::{self, Gathered};
use super::core::{Attached, Core};
use super::nodes;
use crate::engine::tail::MAX_COMMANDS;
use crate::hub::engine::EngineError;
use crate::hub::log::Receipt;

/// The receipt of a control entry. When the entry has been carried out here, the store is told how many connections
/// it ended.
pub(super) fn report(core: &Arc<Core>, attached: &Arc<Attached>, by: &str, number: u64) -> Receipt {
    let share = Arc::new(Semaphore::new(1)).try_acquire_owned();
    let (receipt, ended) = Receipt::new(share.expect("a new semaphore has its permit"));
    let key = core.keys.ended(by, number);
    let (core, attached) = (Arc::clone(core), Arc::clone(attached));
    tokio::spawn(async move {
        // An error: the log was truncated, or the node shuts down.
        if let Ok(ended) = ended.await {
            answers::answer(&core, &attached, &key, ended).await;
        }
    });
    receipt
}

/// Waits until every live node has carried out a control entry, and adds up what they ended.
pub(super) async fn total(
    core: &Core,
    number: u64,
    live: Vec<nodes::Live>,
    deadline_ms: u64,
) -> Result<u64, EngineError> {
    let key = core.keys.ended(&core.writer, number);
    let mut asked: Vec<String> = live.into_iter().map(|node| node.name).collect();
    // Its first beat may still be under way.
    if !asked.contains(&core.settings.node) {
        asked.push(core.settings.node.clone());
    }
    let Gathered { answers, missing } =
        answers::gather::<u64>(core, &key, &asked, deadline_ms, |_| false).await;
    if missing.is_some_and(|missing| missing.is_empty()) {
        return Ok(answers.iter().map(|(_, ended)| ended).sum());
    }
    core.state.count_unknown();
    Err(EngineError::Unknown)
}

/// Most control entries of this node that are under way.
pub(super) fn shares() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_COMMANDS))
}
