//! Keeps the node attached to the store: connects, compares, serves until a connection fails, and begins again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::attach::{Known, Ready, attach};
use super::core::{Attached, Core};
use super::loss::Loss;
use super::replica::Replicas;
use super::resolve::Resolver;
use super::writer::Queue;
use super::{beat, nodes, reader, register, writer};
use crate::clock::millis;
use crate::event::EventId;
use crate::hub::engine::PortableShared;

/// First and longest pause before the next attempt. The longest is short, so that service resumes soon after the
/// store returns.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long the first group after a change of servers waits for the other nodes to attach, so that ids which they
/// have seen are not given out again.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between questions whether they have.
const OTHERS_PAUSE: Duration = Duration::from_millis(20);

/// What a node is ordered to do when it passes to another process.
pub(super) enum Order {
    /// Gives the connections up. The answer is what the other process has to know. Requests that come later wait.
    Stop(oneshot::Sender<Option<PortableShared>>),
    /// Goes on after that.
    Resume,
}

/// Keeps the node attached until `orders` ends, except while another process has the node. `tried` is told when the
/// first attempt is over.
pub(super) async fn run(
    core: Arc<Core>,
    mut queue: Queue,
    mut known: Known,
    tried: oneshot::Sender<()>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut tried = Some(tried);
    loop {
        let reply = tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Stop(reply)) => reply,
                Some(Order::Resume) => continue,
                None => return,
            },
            never = stay_attached(&core, &mut queue, &mut known, &mut tried) => match never {},
        };
        core.attached.send_replace(None);
        let places = core.places.valid_names();
        // Whoever has asked may have left, and orders to resume then.
        let _ = reply.send(known.describe(core.state.seen(), places));
        loop {
            match orders.recv().await {
                Some(Order::Resume) => {
                    known.has_name = true;
                    break;
                }
                Some(Order::Stop(_)) => {}
                None => return,
            }
        }
    }
}

/// Keeps the node attached for ever. Nothing is lost if it is dropped.
async fn stay_attached(
    core: &Arc<Core>,
    queue: &mut Queue,
    known: &mut Known,
    tried: &mut Option<oneshot::Sender<()>>,
) -> Infallible {
    let resolver = Resolver::new(&core.settings);
    let mut pause = FIRST_PAUSE;
    loop {
        let ready = match resolver.resolve().await {
            Ok(address) => attach(core, &address, known).await,
            Err(loss) => Err(loss),
        };
        let loss = match ready {
            Ok(ready) => {
                pause = FIRST_PAUSE;
                let attached = Arc::clone(&ready.attached);
                core.attached.send_replace(Some(attached));
                first_try_is_over(tried);
                let Err(loss) = serve(core, &resolver, ready, queue).await;
                core.attached.send_replace(None);
                loss
            }
            Err(loss) => loss,
        };
        first_try_is_over(tried);
        if matches!(loss, Loss::NameTaken(_)) && known.has_log() && core.state.lose_contact() {
            leave_to_another(core).await;
        }
        let reason = format!("Redis cannot be used: {loss}");
        if core.state.away(&reason) {
            tracing::warn!(error = %loss, "Redis cannot be used; trying again");
        }
        core.real.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Ends all streams: another process runs as this node for an unknown time, and this one gets no events meanwhile.
async fn leave_to_another(core: &Core) {
    let seen = core.state.seen();
    let next = EventId {
        seq: seen.seq.saturating_add(1),
        ..seen
    };
    core.tail.restart_before(next).await;
}

fn first_try_is_over(tried: &mut Option<oneshot::Sender<()>>) {
    if let Some(tried) = tried.take() {
        // Nobody may be waiting any more.
        let _ = tried.send(());
    }
}

/// Reads, writes and beats until one of them fails. Then all connections are given up.
async fn serve(
    core: &Arc<Core>,
    resolver: &Resolver,
    ready: Ready,
    queue: &mut Queue,
) -> Result<Infallible, Loss> {
    let Ready {
        attached,
        start,
        is_new_server,
    } = ready;
    let (replicas, search) = Replicas::new();
    tokio::select! {
        loss = reader::run(core, &attached, start, replicas) => loss,
        loss = search.run(core, resolver, &attached) => loss,
        loss = beat::run(core, &attached) => loss,
        loss = beat::report_changes(core, &attached) => loss,
        loss = resolver.follow(&core.real) => loss,
        loss = register::count(core, &attached) => loss,
        loss = write(core, &attached, queue, is_new_server) => loss,
    }
}

async fn write(
    core: &Core,
    attached: &Attached,
    queue: &mut Queue,
    is_new_server: bool,
) -> Result<Infallible, Loss> {
    if is_new_server {
        wait_for_others(core, attached).await?;
    }
    writer::run(core, attached, queue).await
}

/// Waits until all live nodes are attached to the same server, but not for long.
async fn wait_for_others(core: &Core, attached: &Attached) -> Result<(), Loss> {
    let until_ms = core.real.now_ms() + millis(OTHERS_TIMEOUT);
    loop {
        let live = nodes::live(core, attached).await?;
        let others = live.iter().filter(|node| node.name != core.settings.node);
        let mut here = others.map(|node| *node.said.run == *attached.run);
        if here.all(|is_here| is_here) || core.real.now_ms() >= until_ms {
            return Ok(());
        }
        core.real.sleep(OTHERS_PAUSE).await;
    }
}
