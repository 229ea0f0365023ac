//! This node's signs of life: each renews the node's lease and keeps the readers of all nodes alert. Between them,
//! the node tells at once when it has applied a session change.

use std::convert::Infallible;
use std::time::Duration;

use redis::RedisError;

use super::core::{Attached, Core};
use super::link::Link;
use super::loss::Loss;
use super::nodes::Said;
use super::{nodes, scripts, sessions};
use crate::clock::millis;
use crate::event::EventId;

/// Time between beats.
const INTERVAL: Duration = Duration::from_secs(1);
/// A lease that was not renewed for this long is that of a process that has ended, or stands still.
const RENEWED_WITHIN: Duration = Duration::from_millis(1_300);
/// A beat of another node counts, if it is this young.
const ENOUGH: Duration = Duration::from_millis(900);
/// A node without beats counts as dead after this time. Until then, session changes wait for it.
const LEASE: Duration = Duration::from_secs(10);
/// Reports that are due within this time are one.
const COALESCE: Duration = Duration::from_millis(5);

/// Sends beats over one connection until it fails.
pub(super) async fn run(core: &Core, attached: &Attached) -> Result<Infallible, Loss> {
    let mut cursor = 0;
    loop {
        beat(core, attached).await?;
        // Redis closes connections that are idle for longer than its `timeout`.
        let time = redis::cmd("TIME");
        attached.write.clone().call::<redis::Value>(&time).await?;
        attached.spread.keep().await?;
        cursor = prune(core, attached, cursor).await?;
        core.real.sleep(INTERVAL).await;
    }
}

/// Tells the other nodes of each session change that has been applied here, until the connection fails.
pub(super) async fn report_changes(core: &Core, attached: &Attached) -> Result<Infallible, Loss> {
    let mut changed = core.changed.subscribe();
    loop {
        // The sender lives in `core`.
        let _ = changed.changed().await;
        let id = *changed.borrow_and_update();
        let log = core.tail.log();
        log.dispatched(id, log.generation()).await;
        core.real.sleep(COALESCE).await;
        report(core, attached).await?;
    }
}

/// The first beat over a connection, before this node's log is the store's. The other nodes wait for it from now on,
/// but it has applied nothing that it can vouch for. With `has_name`, no other process can be running as this node.
pub(super) async fn begin(core: &Core, attached: &Attached, has_name: bool) -> Result<(), Loss> {
    let said = Said {
        applied: EventId::default().to_string(),
        ..nodes::said(core, attached)
    };
    send(core, attached, &said, has_name).await.map(drop)
}

/// Fails if another process runs as this node: it renews the lease.
pub(super) async fn check_name(core: &Core, link: &mut Link) -> Result<(), Loss> {
    let Some(end) = nodes::lease_end(core, link).await? else {
        return Ok(());
    };
    core.real.sleep(RENEWED_WITHIN).await;
    match nodes::lease_end(core, link).await? {
        Some(later) if later > end => Err(Loss::NameTaken(core.settings.node.clone())),
        _ => Ok(()),
    }
}

/// One beat. Fails if the store is not the one that the node knows, or if a later process runs as this node.
pub(super) async fn beat(core: &Core, attached: &Attached) -> Result<(), Loss> {
    let said = nodes::said(core, attached);
    let asked_ms = core.real.unix_ms();
    let (store_ms, newest, live, users) = send(core, attached, &said, false).await?;
    core.state.set_time(store_ms, asked_ms);
    core.state
        .set_store(newest.parse().unwrap_or_default(), live, users);
    Ok(())
}

/// Returns the store's time, the log's newest id, the names of the live nodes, and the sum of their users.
async fn send(
    core: &Core,
    attached: &Attached,
    said: &Said,
    has_name: bool,
) -> Result<(u64, String, Vec<String>, u64), Loss> {
    let seen = core.state.seen();
    let (keys, settings) = (&core.keys, &core.settings);
    let mut call = scripts::BEAT.prepare_invoke();
    call.key(&keys.log)
        .key(&keys.meta)
        .key(&keys.beat)
        .key(&keys.nodes)
        .key(&keys.said);
    call.arg(&*attached.epoch)
        .arg(&settings.node)
        .arg(said.to_json())
        .arg(millis(LEASE))
        .arg(seen.ms)
        .arg(seen.seq)
        .arg(settings.max_bytes)
        .arg(millis(ENOUGH))
        .arg(&core.writer)
        .arg(core.started_ms())
        .arg(u8::from(has_name));
    let mut link = attached.ask.clone();
    let answer = call.invoke_async(link.connection()).await;
    answer.map_err(|error: RedisError| {
        if error.code() == Some("TAKEN") {
            return Loss::NameTaken(settings.node.clone());
        }
        error.into()
    })
}

/// Looks at some of the standings in the store, and removes those that no token can depend on any more. Returns where
/// to continue.
async fn prune(core: &Core, attached: &Attached, cursor: u64) -> Result<u64, RedisError> {
    /// Rows per beat. A node looks at a million in three hours, and a standing lasts for weeks.
    const ROWS: usize = 100;
    let (next, rows) = sessions::scan(core, attached, cursor, ROWS).await?;
    let (now_ms, rules) = (core.unix_ms(), core.directory.rules());
    let over = rows
        .iter()
        .filter(|row| row.standing.is_over(now_ms, rules));
    let mut call = scripts::PRUNE.prepare_invoke();
    call.key(&core.keys.standings);
    let mut count = 0;
    for row in over {
        call.arg(&row.user).arg(&row.text);
        count += 1;
    }
    if count > 0 {
        call.invoke_async::<u64>(attached.ask.clone().connection())
            .await?;
    }
    Ok(next)
}

/// Tells the other nodes how far this one is.
async fn report(core: &Core, attached: &Attached) -> Result<(), RedisError> {
    let said = nodes::said(core, attached).to_json();
    let mut call = scripts::REPORT.prepare_invoke();
    call.key(&core.keys.said).arg(&core.settings.node).arg(said);
    call.invoke_async(attached.ask.clone().connection()).await
}

/// Waits until every live node has applied the change of this id, or until `deadline_ms`. Returns the number of live
/// nodes, and the names of those that have not.
pub(super) async fn wait_for_all(
    core: &Core,
    id: EventId,
    deadline_ms: u64,
) -> (usize, Vec<String>) {
    /// Time between questions.
    const PAUSE: Duration = Duration::from_millis(10);
    let own = &core.settings.node;
    let mut last = (1, Vec::new());
    loop {
        let Some(attached) = core.attached_by(deadline_ms).await else {
            return last;
        };
        if let Ok(live) = nodes::live(core, &attached).await {
            let others = live.iter().filter(|node| node.name != *own);
            let missing: Vec<String> = others
                .clone()
                .filter(|node| !node.has_applied(id))
                .map(|node| node.name.clone())
                .collect();
            last = (others.count() + 1, missing);
            if last.1.is_empty() {
                return last;
            }
        }
        if core.real.now_ms() >= deadline_ms {
            return last;
        }
        core.real.sleep(PAUSE).await;
    }
}

/// Gives the lease up, so that the other nodes do not wait for this one.
pub(super) async fn leave(core: &Core, attached: &Attached) -> Result<(), RedisError> {
    let mut link = attached.ask.clone();
    let node = &core.settings.node;
    let mut leave = redis::cmd("ZREM");
    leave.arg(&core.keys.nodes).arg(node);
    link.call::<()>(&leave).await?;
    let mut forget = redis::cmd("HDEL");
    forget.arg(&core.keys.said).arg(node);
    link.call(&forget).await
}
