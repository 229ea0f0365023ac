//! How many connections a control entry has ended, added up over all nodes.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::Semaphore;

use super::core::{Attached, Core};
use super::nodes;
use crate::clock::millis;
use crate::engine::tail::MAX_COMMANDS;
use crate::hub::engine::EngineError;
use crate::hub::log::Receipt;

/// How long the store keeps the nodes' answers; longer than anybody waits for them.
const KEPT: Duration = Duration::from_secs(10);
/// Time between questions for the answers.
const PAUSE: Duration = Duration::from_millis(10);

/// The receipt of a control entry. When the entry has been carried out here, the store is told how many connections
/// it ended.
pub(super) fn report(core: &Arc<Core>, attached: &Attached, by: &str, number: u64) -> Receipt {
    let share = Arc::new(Semaphore::new(1)).try_acquire_owned();
    let (receipt, ended) = Receipt::new(share.expect("a new semaphore has its permit"));
    let key = core.keys.ended(by, number);
    let (node, mut link) = (core.settings.node.clone(), attached.ask.clone());
    tokio::spawn(async move {
        // The log was truncated, or the node shuts down.
        let Ok(ended) = ended.await else { return };
        let mut set = redis::cmd("HSET");
        set.arg(&key).arg(node).arg(ended);
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(&key).arg(millis(KEPT));
        // The node that asks gives up if an answer does not arrive.
        if link.call::<Value>(&set).await.is_ok() {
            let _ = link.call::<Value>(&expire).await;
        }
    });
    receipt
}

/// Waits until every live node has carried out a control entry, and adds up what they ended.
pub(super) async fn total(core: &Core, number: u64, deadline_ms: u64) -> Result<u64, EngineError> {
    let key = core.keys.ended(&core.writer, number);
    while core.real.now_ms() < deadline_ms {
        let Some(attached) = core.attached_by(deadline_ms).await else {
            break;
        };
        let mut link = attached.ask.clone();
        let mut ask = redis::cmd("HGETALL");
        ask.arg(&key);
        if let Ok(answers) = link.call::<Vec<(String, u64)>>(&ask).await
            && let Ok(live) = nodes::live(core, &attached).await
        {
            let has_answered =
                |node: &nodes::Live| answers.iter().any(|(name, _)| *name == node.name);
            if live.iter().all(has_answered) {
                return Ok(answers.iter().map(|(_, ended)| ended).sum());
            }
        }
        core.real.sleep(PAUSE).await;
    }
    core.state.count_unknown();
    Err(EngineError::Unknown)
}

/// Most control entries of this node that are under way.
pub(super) fn shares() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_COMMANDS))
}
