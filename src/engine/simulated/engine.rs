//! The engine of one node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::link::LinkLost;
use super::members::Member;
use super::node::{Node, RETRY};
use super::register::SimulatedRegister;
use super::store::{Addition, SimulatedStore};
use super::{run, sessions};
use crate::clock::{Clock, millis};
use crate::engine::record::Stored;
use crate::engine::sources::SourceKey;
use crate::engine::tail::{MAX_COMMANDS, Tail};
use crate::engine::waiting::{Waiting, kib, one_each};
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::Quota;
use crate::hub::directory::Directory;
use crate::hub::engine::{
    Answer, Applied, Engine, EngineError, EngineFigures, EngineHealth, LocalNode, NodeStatus,
    Notice, OpenError, Promise, Register,
};
use crate::hub::log::{Control, Log};
use crate::{spans, version};

/// Longest time until a publisher gets an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client waits until this node has read its last event.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// An engine whose log is in a simulated store.
pub(crate) struct SimulatedEngine {
    node: Arc<Node>,
    register: Arc<SimulatedRegister>,
    waiting: Waiting,
    commands: Semaphore,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// The parts of the server that an engine works on.
pub(crate) struct SimulatedParts {
    pub(crate) log: Arc<Log>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) streams: Arc<Quota>,
    pub(crate) clock: Clock,
}

impl SimulatedEngine {
    /// A node with a store of its own. It admits clients however long it has not heard of the store, because tests
    /// advance the clock by minutes between two beats.
    #[cfg(feature = "simulated")]
    pub(crate) fn alone(parts: SimulatedParts) -> Self {
        let store = SimulatedStore::new(parts.clock.clone());
        Self::new("alone", Duration::ZERO, store, parts)
    }

    /// A node of the nodes that share `store`.
    pub(super) fn new(
        name: &str,
        max_stale: Duration,
        store: Arc<SimulatedStore>,
        parts: SimulatedParts,
    ) -> Self {
        let node = Arc::new(Node::new(
            name.to_owned(),
            max_stale,
            store,
            Tail::new(parts.log, parts.clock.clone()),
            parts.directory,
            parts.streams,
            parts.clock,
        ));
        Self {
            register: Arc::new(SimulatedRegister::new(Arc::clone(&node))),
            node,
            waiting: Waiting::default(),
            commands: Semaphore::new(MAX_COMMANDS),
            running: Mutex::default(),
        }
    }

    /// The node's link, whose faults a test sets.
    #[cfg(test)]
    pub(super) fn link(&self) -> &super::link::SimulatedLink {
        &self.node.link
    }

    fn deadline_ms(&self) -> u64 {
        self.node.clock.now_ms() + millis(TIMEOUT)
    }

    /// Appends entries in order, and returns their ids.
    async fn append(&self, entries: Vec<Addition>, kib: u32) -> Result<Vec<EventId>, EngineError> {
        let node = &self.node;
        let deadline_ms = self.deadline_ms();
        let _share = self.waiting.share(kib, &node.clock).await?;
        if self.running.lock().is_none() {
            return Err(EngineError::NotOpen);
        }
        let group = (node.writer.clone(), node.number());
        // Only entries that may have arrived have an unknown outcome.
        let mut was_sent = false;
        while let Some(run) = node.attached_by(deadline_ms).await {
            let (group, entries) = (group.clone(), entries.clone());
            let written = node
                .link
                .write(Some(run), move |state| state.publish(group, &entries));
            let written = tokio::select! {
                biased;
                written = written => written,
                () = node.clock.sleep_until(deadline_ms) => Err(LinkLost::NoReply),
            };
            match written {
                Ok(places) => {
                    let ids: Vec<EventId> = places.into_iter().map(EventId::from).collect();
                    self.read_by(ids.iter().max().copied(), deadline_ms).await;
                    return Ok(ids);
                }
                Err(lost) => was_sent |= lost == LinkLost::NoReply,
            }
            if node.clock.now_ms() >= deadline_ms {
                break;
            }
            node.clock.sleep(RETRY).await;
        }
        if was_sent {
            node.count_unknown();
            return Err(EngineError::Unknown);
        }
        Err(EngineError::Away)
    }

    /// Waits until this node has read an entry, so that a client which comes to it from now on finds it in its log.
    async fn read_by(&self, id: Option<EventId>, deadline_ms: u64) {
        let left_ms = deadline_ms.saturating_sub(self.node.clock.now_ms());
        if let Some(id) = id {
            let read = self.node.tail.log().read_up_to(id);
            let left = Duration::from_millis(left_ms);
            self.node.clock.within(left, read).await;
        }
    }

    /// Asks the store until `answer` has one, or until `deadline_ms`.
    async fn ask_until<T>(
        &self,
        deadline_ms: u64,
        mut answer: impl FnMut(&super::store::SimulatedState) -> Option<T>,
    ) -> Option<T> {
        let node = &self.node;
        let mut store = node.store.changes();
        loop {
            let run = node.attached_by(deadline_ms).await?;
            store.borrow_and_update();
            let asked = tokio::select! {
                biased;
                asked = node.link.read(run, &mut answer) => asked,
                () = node.clock.sleep_until(deadline_ms) => return None,
            };
            if let Ok(Some(answer)) = asked {
                return Some(answer);
            }
            tokio::select! {
                biased;
                () = node.clock.sleep_until(deadline_ms) => return None,
                _ = store.changed() => {}
                () = node.clock.sleep(RETRY) => {}
            }
        }
    }

    /// The live nodes, this one included.
    async fn live(&self) -> Option<Vec<(String, Member)>> {
        let unix_ms = self.node.clock.unix_ms();
        let (name, member) = (self.node.name.clone(), self.node.member());
        let run = self.node.attached_by(self.deadline_ms()).await?;
        let live = self.node.link.write(Some(run), move |state| {
            state.members.renew(&name, member);
            state.members.live(unix_ms)
        });
        self.node.clock.within(TIMEOUT, live).await?.ok()
    }
}

impl Engine for SimulatedEngine {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn open(&self, _: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        Box::pin(async move {
            let (tried, is_tried) = oneshot::channel();
            let (node, register) = (Arc::clone(&self.node), Arc::clone(&self.register));
            *self.running.lock() = Some(tokio::spawn(run::run(node, register, tried)));
            self.node.clock.within(TIMEOUT, is_tried).await;
            Ok(())
        })
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>> {
        Box::pin(async move {
            let count = drafts.len();
            let kib = drafts.iter().map(|draft| kib(&draft.data)).sum();
            let entries = drafts.iter().map(|draft| Addition {
                source: SourceKey::of(draft),
                json: Stored::draft(draft).to_json().into(),
            });
            let appended = self.append(entries.collect(), kib);
            one_each(appended.instrument(spans::append(count)).await, count)
        })
    }

    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>> {
        Box::pin(async move {
            let data = notice.force_logout();
            let _share = self.waiting.share(kib(&data), &self.node.clock).await?;
            let changed = sessions::change(&self.node, change, data, self.deadline_ms());
            changed.instrument(spans::append(1)).await
        })
    }

    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>> {
        Box::pin(async move {
            let share = self.commands.try_acquire();
            let _share = share.map_err(|_| EngineError::Behind)?;
            let deadline_ms = self.deadline_ms();
            let request = (self.node.writer.clone(), self.node.number());
            let Control::Disconnect { user } = control;
            let stored = Stored::Control {
                disconnect: user.as_str().into(),
                by: request.0.as_str().into(),
                number: request.1,
            };
            let entry = Addition {
                source: None,
                json: stored.to_json().into(),
            };
            self.append(vec![entry], 1).await?;
            let store = Arc::clone(&self.node.store);
            let total = self.ask_until(deadline_ms, |state| {
                state.members.total(&request, store.unix_ms())
            });
            total.await.ok_or(EngineError::Unknown)
        })
    }

    fn health(&self) -> EngineHealth {
        self.node.health()
    }

    fn is_current(&self) -> bool {
        self.node.is_current()
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// A term is no time.
    fn has_times_in_ids(&self) -> bool {
        false
    }

    fn read_up_to(&self, id: EventId) -> Promise<'_, ()> {
        if EventId::from(self.node.seen()) >= id {
            return Promise::Now(());
        }
        Promise::Later(Box::pin(async move {
            let deadline_ms = self.node.clock.now_ms() + millis(READ_TIMEOUT);
            // An id from another store, or one that was made up, is not waited for.
            let Some(run) = *self.node.attached.borrow() else {
                return;
            };
            let is_there = self.node.link.read(run, move |state| state.has(id.into()));
            let is_there = self.node.clock.within(READ_TIMEOUT, is_there).await;
            if is_there == Some(Ok(true)) {
                self.read_by(Some(id), deadline_ms).await;
            }
        }))
    }

    fn applied(&self, id: EventId) -> Promise<'_, Applied> {
        Promise::Later(Box::pin(async move {
            let own = &self.node.name;
            let store = Arc::clone(&self.node.store);
            let mut last = Applied {
                of: 1,
                missing: Vec::new(),
            };
            let all = self.ask_until(self.deadline_ms(), |state| {
                let live = state.members.live(store.unix_ms());
                let others = live.iter().filter(|(name, _)| name != own);
                let missing = others.clone().filter(|(_, member)| member.applied < id);
                last = Applied {
                    missing: missing.map(|(name, _)| name.clone()).collect(),
                    of: others.count() + 1,
                };
                last.missing.is_empty().then_some(())
            });
            all.await;
            last
        }))
    }

    fn nodes(&self) -> Promise<'_, Result<Vec<NodeStatus>, EngineError>> {
        Promise::Later(Box::pin(async move {
            let live = self.live().await.ok_or(EngineError::Away)?;
            let unix_ms = self.node.clock.unix_ms();
            let status = |(name, member): (String, Member)| NodeStatus {
                is_self: name == self.node.name,
                name,
                age: Duration::from_millis(unix_ms.saturating_sub(member.started_ms)),
                lag: Duration::ZERO,
                connections: member.connections,
                users: member.users,
                version: version::VERSION.to_owned(),
            };
            Ok(live.into_iter().map(status).collect())
        }))
    }

    fn figures(&self) -> Option<EngineFigures> {
        let now_ms = self.node.store.unix_ms();
        let live = self.node.store.look(|state| state.members.live(now_ms));
        Some(self.node.figures(live.len() as u64))
    }

    fn unix_ms(&self) -> u64 {
        self.node.unix_ms()
    }

    fn register(&self) -> &dyn Register {
        &*self.register
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            if let Some(running) = self.running.lock().take() {
                running.abort();
            }
            let name = &self.node.name;
            self.node.link.write_now(|state| state.members.leave(name));
        })
    }
}
