//! Keeps the node attached to the store: compares, serves until the link fails, and begins again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::attach::attach;
use super::link::LinkLost;
use super::node::Node;
use super::placing::place;
use super::register::SimulatedRegister;
use crate::engine::reconcile::Included;

/// Time between beats, and between attempts to attach.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time for a read.
const MAX_SILENCE: Duration = Duration::from_secs(3);
/// Entries of one read.
const ENTRIES: usize = 100;

/// Keeps the node attached for ever. `tried` is told when the first attempt is over.
pub(super) async fn run(
    node: Arc<Node>,
    register: Arc<SimulatedRegister>,
    tried: oneshot::Sender<()>,
) {
    let mut tried = Some(tried);
    loop {
        let mut link = node.link.changes();
        // The lease comes first: a node that the others do not wait for must not admit anybody.
        let attached = async {
            let (found, included) = attach(&node).await?;
            renew(&node, found.run).await?;
            Ok((found, included))
        };
        let lost = match node.clock.within(MAX_SILENCE, attached).await {
            Some(Ok((found, included))) => {
                register.restate();
                node.attach(&found);
                tried.take().map(|tried| tried.send(()));
                let Err(lost) = serve(&node, &register, found.run, included).await;
                lost
            }
            Some(Err(lost)) => lost,
            None => LinkLost::Silent,
        };
        tracing::debug!(node = %node.name, error = %lost, "detached");
        node.detach(&lost.to_string());
        tried.take().map(|tried| tried.send(()));
        if !matches!(lost, LinkLost::Moved | LinkLost::Trimmed) {
            tokio::select! {
                _ = link.changed() => {}
                () = node.clock.sleep(INTERVAL) => {}
            }
        }
    }
}

/// Reads, beats and reports until one of them fails.
async fn serve(
    node: &Arc<Node>,
    register: &SimulatedRegister,
    run: u64,
    included: Included,
) -> Result<Infallible, LinkLost> {
    tokio::select! {
        lost = read(node, run, included) => lost,
        lost = beat(node, register, run) => lost,
        lost = report_changes(node, run) => lost,
    }
}

/// Appends the store's entries to this node's log. The store is the queue: what does not fit here yet waits there.
async fn read(node: &Arc<Node>, run: u64, mut included: Included) -> Result<Infallible, LinkLost> {
    let (mut link, mut store) = (node.link.changes(), node.store.changes());
    loop {
        node.tail.log().room().await;
        let seen = node.seen();
        let unix_ms = node.clock.unix_ms();
        let ask = node.link.read(run, |state| {
            let entries = state.reaches(seen).then(|| state.after(seen, ENTRIES));
            (entries, state.members.live(unix_ms))
        });
        let answer = node.clock.within(MAX_SILENCE, ask).await;
        let (entries, live) = answer.unwrap_or(Err(LinkLost::Silent))?;
        node.note_peers(live);
        let entries = entries.ok_or(LinkLost::Trimmed)?;
        if entries.is_empty() {
            tokio::select! {
                _ = store.changed() => {}
                _ = link.changed() => {}
            }
        }
        for entry in entries {
            place(node, &mut included, &entry).map_err(|_| LinkLost::OutOfOrder)?;
        }
    }
}

/// Renews the node's lease.
async fn beat(node: &Node, register: &SimulatedRegister, run: u64) -> Result<Infallible, LinkLost> {
    loop {
        renew(node, run).await?;
        register.restate();
        node.clock.sleep(INTERVAL).await;
    }
}

/// Tells the other nodes of each session change that has been applied here.
async fn report_changes(node: &Node, run: u64) -> Result<Infallible, LinkLost> {
    let mut changed = node.changed.subscribe();
    // The report of the last one may have been lost.
    changed.mark_changed();
    loop {
        // The sender lives in `node`.
        let _ = changed.changed().await;
        let id = *changed.borrow_and_update();
        let log = node.tail.log();
        log.dispatched(id, log.generation()).await;
        renew(node, run).await?;
    }
}

async fn renew(node: &Node, run: u64) -> Result<(), LinkLost> {
    let (name, member, begun_ms) = (node.name.clone(), node.member(), node.clock.now_ms());
    let renew = node
        .link
        .write(Some(run), move |state| state.members.renew(&name, member));
    let renewed = node.clock.within(MAX_SILENCE, renew).await;
    renewed.unwrap_or(Err(LinkLost::Silent))?;
    node.contact(begun_ms);
    Ok(())
}
