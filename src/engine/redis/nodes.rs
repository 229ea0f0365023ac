//! What nodes tell each other: that they live, how far they have read, and what they hold.

use std::collections::HashSet;

use redis::RedisError;
use serde::{Deserialize, Serialize};

use super::core::{Attached, Core};
use super::link::Link;
use super::scripts;
use crate::event::EventId;
use crate::version::VERSION;

/// What a node says of itself. A later version may say more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    /// When its process began, in the store's Unix milliseconds.
    pub(super) started_ms: u64,
    /// Names the process, unlike the node's name; empty before version 0.4.
    pub(super) writer: String,
    /// The newest entry that its clients get; everything before it is in force.
    pub(super) applied: String,
    pub(super) lag_ms: u64,
    pub(super) connections: u64,
    /// Users with at least one of them. The script of the beat reads this field.
    pub(super) users: u64,
    pub(super) version: String,
    /// The server's process that the node is attached to.
    pub(super) run: String,
    /// The names under which it has counted the places of users, and which are still valid.
    pub(super) places: Vec<String>,
}

/// A node whose lease has not ended.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) name: String,
    pub(super) said: Said,
}

impl Live {
    /// Returns true if the node has applied the entry of this id.
    pub(super) fn has_applied(&self, id: EventId) -> bool {
        let applied = self.said.applied.parse();
        applied.is_ok_and(|applied: EventId| applied >= id)
    }
}

/// What this node says of itself.
pub(super) fn said(core: &Core, attached: &Attached) -> Said {
    Said {
        started_ms: core.started_ms(),
        writer: core.writer.clone(),
        applied: core.tail.log().dispatched_cursor().id.to_string(),
        lag_ms: u64::try_from(core.state.lag().as_millis()).unwrap_or(u64::MAX),
        connections: core.streams.used(),
        users: core.directory.users_online() as u64,
        version: VERSION.to_owned(),
        run: attached.run.to_string(),
        places: core.places.valid_names(),
    }
}

impl Said {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers serialise")
    }
}

/// The names under which live nodes count the places of users.
pub(super) async fn valid_places(
    core: &Core,
    attached: &Attached,
) -> Result<HashSet<String>, RedisError> {
    let live = live(core, attached).await?;
    Ok(live.into_iter().flat_map(|node| node.said.places).collect())
}

/// When this node's lease ends, in the store's Unix milliseconds; `None` if it has ended.
pub(super) async fn lease_end(core: &Core, link: &mut Link) -> Result<Option<f64>, RedisError> {
    let mut command = redis::cmd("ZRANGEBYSCORE");
    command
        .arg(&core.keys.nodes)
        .arg(core.store_unix_ms())
        .arg("+inf")
        .arg("WITHSCORES");
    let live: Vec<(String, f64)> = link.call(&command).await?;
    let own = live
        .into_iter()
        .find(|(name, _)| *name == core.settings.node);
    Ok(own.map(|(_, end)| end))
}

/// The live nodes, by name.
pub(super) async fn live(core: &Core, attached: &Attached) -> Result<Vec<Live>, RedisError> {
    let mut link = attached.ask.clone();
    let mut call = scripts::NODES.prepare_invoke();
    call.key(&core.keys.nodes).key(&core.keys.said);
    let texts: Vec<String> = call.invoke_async(link.connection()).await?;
    let mut live: Vec<Live> = texts
        .chunks_exact(2)
        .map(|pair| Live {
            name: pair[0].clone(),
            said: serde_json::from_str(&pair[1]).unwrap_or_default(),
        })
        .collect();
    live.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(live)
}
