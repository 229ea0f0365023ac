//! What nodes answer to a request: each writes a field of a hash in the store, and whoever asked reads the hash until
//! all live nodes have.

use std::time::Duration;

use redis::{FromRedisValue, RedisError, ToSingleRedisArg};

use super::core::{Attached, Core};
use super::{nodes, scripts};
use crate::clock::millis;

/// How long the store keeps the nodes' answers; longer than anybody waits for them.
const KEPT: Duration = Duration::from_secs(10);
/// Time between questions for the answers.
const PAUSE: Duration = Duration::from_millis(10);

/// The nodes' answers.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    /// What each has answered, with its name.
    pub(super) answers: Vec<(String, T)>,
    /// The names of the others that were asked and are still live. `None` if the store was away all the time.
    pub(super) missing: Option<Vec<String>>,
}

/// Writes this node's answer under `key`.
pub(super) async fn answer(
    core: &Core,
    attached: &Attached,
    key: &str,
    answer: impl ToSingleRedisArg,
) {
    let mut call = scripts::ANSWER.prepare_invoke();
    call.key(key)
        .arg(&core.settings.node)
        .arg(answer)
        .arg(millis(KEPT));
    let mut link = attached.ask.clone();
    // The node that asks gives up if an answer does not arrive.
    let _ = call.invoke_async::<()>(link.connection()).await;
}

/// Reads the answers under `key` until all of the nodes `asked` that are live have answered (this one always is), until `is_enough`, or
/// until `deadline_ms`.
pub(super) async fn gather<T: FromRedisValue>(
    core: &Core,
    key: &str,
    asked: &[String],
    deadline_ms: u64,
    is_enough: impl Fn(&[(String, T)]) -> bool,
) -> Gathered<T> {
    let mut gathered = Gathered {
        answers: Vec::new(),
        missing: None,
    };
    loop {
        let Some(attached) = core.attached_by(deadline_ms).await else {
            return gathered;
        };
        if let Ok((answers, live)) = read(core, &attached, key).await {
            let has_answered = |name: &String| answers.iter().any(|(node, _)| node == name);
            let own = &core.settings.node;
            let is_live = |name: &String| name == own || live.iter().any(|node| node.name == *name);
            let missing: Vec<String> = asked
                .iter()
                .filter(|name| !has_answered(name) && is_live(name))
                .cloned()
                .collect();
            let is_over = missing.is_empty() || is_enough(&answers);
            gathered = Gathered {
                answers,
                missing: Some(missing),
            };
            if is_over {
                return gathered;
            }
        }
        if core.real.now_ms() >= deadline_ms {
            return gathered;
        }
        core.real.sleep(PAUSE).await;
    }
}

async fn read<T: FromRedisValue>(
    core: &Core,
    attached: &Attached,
    key: &str,
) -> Result<(Vec<(String, T)>, Vec<nodes::Live>), RedisError> {
    let mut link = attached.ask.clone();
    let mut ask = redis::cmd("HGETALL");
    ask.arg(key);
    tokio::try_join!(link.call(&ask), nodes::live(core, attached))
}
