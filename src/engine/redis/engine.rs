//! The engine of several nodes: it hands requests to the writer, bounds how many may wait, and answers when they are
//! stored.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::attach::Known;
use super::core::Core;
use super::register::RedisRegister;
use super::request::{AppendRequest, Fate, NewEntry};
use super::run::Order;
use super::settings::RedisSettings;
use super::writer::{PUBLISH_TIMEOUT, Queue};
use super::{beat, ended, nodes, run, sessions};
use crate::clock::{Clock, millis};
use crate::config::Config;
use crate::engine::record::Stored;
use crate::engine::sources::SourceKey;
use crate::engine::tail::Tail;
use crate::engine::waiting::{Waiting, kib, one_each};
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::Quota;
use crate::hub::directory::Directory;
use crate::hub::engine::{
    Answer, Applied, Continued, Engine, EngineError, EngineFigures, EngineHealth, LocalNode,
    NodeStatus, Notice, OpenError, PortableShared, Promise, Register,
};
use crate::hub::log::{Control, Generation, Log};
use crate::spans;

/// How long a start waits for the store. Without it the node starts, too, but is not ready.
const START_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a session change waits until all nodes have applied it.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client waits until this node has read its last event: as long as an unnoticed loss of the connection
/// to the store takes.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How far the nodes' idea of the store's time may differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// How long an end waits for the store.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// An engine whose log is in Redis, so that several nodes share it.
pub(crate) struct RedisEngine {
    pub(super) core: Arc<Core>,
    register: RedisRegister,
    waiting: Waiting,
    commands: Arc<Semaphore>,
    pub(super) requests: Mutex<Option<mpsc::UnboundedSender<AppendRequest>>>,
    pub(super) orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    running: Mutex<Option<JoinHandle<()>>>,
    pub(super) handover: Mutex<Handover>,
}

/// What is known while this node passes to another process, or from one.
#[derive(Default)]
pub(super) struct Handover {
    /// The log's generation when it was described.
    pub(super) generation: Option<Generation>,
    /// The node is ordered to stop.
    pub(super) is_stopped: bool,
    /// The log has begun as the process before has described it.
    pub(super) has_begun: bool,
    /// What that one knew then.
    pub(super) shared: Option<PortableShared>,
}

impl RedisEngine {
    /// An engine that appends to `log`. `streams` counts the streams of this node.
    pub(crate) fn new(
        config: &Config,
        log: Arc<Log>,
        directory: Arc<Directory>,
        streams: Arc<Quota>,
        clock: Clock,
    ) -> Self {
        let tail = Tail::new(log, clock.clone());
        let settings = RedisSettings::of(config);
        let core = Arc::new(Core::new(settings, tail, directory, streams, clock));
        Self {
            register: RedisRegister::new(&core),
            core,
            waiting: Waiting::default(),
            commands: ended::shares(),
            requests: Mutex::default(),
            orders: Mutex::default(),
            running: Mutex::default(),
            handover: Mutex::default(),
        }
    }

    /// Begins to serve, with what another process of this node knew. Waits for the first attempt to attach, but not for
    /// long.
    pub(super) async fn start(&self, known: Known) {
        let (requests, waiting) = mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::unbounded_channel();
        *self.requests.lock() = Some(requests);
        *self.orders.lock() = Some(orders);
        let (tried, is_tried) = oneshot::channel();
        let core = Arc::clone(&self.core);
        let running = run::run(core, Queue::new(waiting), known, tried, ordered);
        *self.running.lock() = Some(tokio::spawn(running));
        self.core.real.within(START_TIMEOUT, is_tried).await;
    }

    /// Begins to serve where another process of this node has stopped: it has forwarded everything up to this log's end.
    pub(super) async fn continue_after(&self, shared: PortableShared) {
        self.core.state.set_seen(self.core.tail.log().newest_id());
        let known = Known::of(&shared);
        self.core.places.inherit(shared.places);
        self.start(known).await;
    }

    /// Appends entries in order, and returns their ids.
    async fn append(&self, entries: Vec<NewEntry>, kib: u32) -> Result<Vec<EventId>, EngineError> {
        let deadline_ms = self.core.real.now_ms() + millis(PUBLISH_TIMEOUT);
        let share = self.waiting.share(kib, &self.core.real).await?;
        let (reply, mut answer) = oneshot::channel();
        let fate = Fate::default();
        let request = AppendRequest {
            entries,
            reply,
            fate: fate.clone(),
            _share: share,
        };
        let requests = self.requests.lock().clone();
        let requests = requests.ok_or(EngineError::NotOpen)?;
        requests.send(request).map_err(|_| EngineError::NotOpen)?;
        let answer = tokio::select! {
            biased;
            answer = &mut answer => match answer {
                Ok(answer) => answer,
                // The engine was closed, or another process has the node.
                Err(_) => Err(self.unanswered(&fate, EngineError::NotOpen)),
            },
            () = self.core.real.sleep_until(deadline_ms) => {
                Err(self.unanswered(&fate, EngineError::Away))
            }
        };
        if let Ok(ids) = &answer
            && let Some(newest) = ids.iter().max()
        {
            // A client that comes to this node from now on finds the entries in its log. They are stored, so if
            // reading them takes long, the answer does not wait for it.
            let read = self.core.tail.log().read_up_to(*newest);
            let left_ms = deadline_ms.saturating_sub(self.core.real.now_ms());
            let left = Duration::from_millis(left_ms);
            self.core.real.within(left, read).await;
        }
        answer
    }

    /// The error for a publisher whose request got no answer from the store: `if_unsent`, unless the store may have the
    /// entries.
    fn unanswered(&self, fate: &Fate, if_unsent: EngineError) -> EngineError {
        if fate.give_up() {
            return if_unsent;
        }
        self.core.state.count_unknown();
        EngineError::Unknown
    }

    /// The live nodes.
    async fn live(&self, deadline_ms: u64) -> Result<Vec<nodes::Live>, EngineError> {
        let attached = self.core.attached_by(deadline_ms).await;
        let attached = attached.ok_or(EngineError::Away)?;
        let live = nodes::live(&self.core, &attached).await;
        live.map_err(|_| EngineError::Away)
    }
}

impl Engine for RedisEngine {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn open(&self, node: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        self.core.asking.begin(node);
        Box::pin(async move {
            self.start(Known::default()).await;
            Ok(())
        })
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>> {
        Box::pin(async move {
            let count = drafts.len();
            let kib = drafts.iter().map(|draft| kib(&draft.data)).sum();
            let entries = drafts.iter().map(|draft| NewEntry {
                source: SourceKey::of(draft),
                json: Stored::draft(draft).to_json(),
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
        let data = notice.force_logout();
        Box::pin(async move {
            let deadline_ms = self.core.real.now_ms() + millis(PUBLISH_TIMEOUT);
            let _share = self.waiting.share(kib(&data), &self.core.real).await?;
            let changed = sessions::change(&self.core, change, data, deadline_ms);
            changed.instrument(spans::append(1)).await
        })
    }

    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>> {
        Box::pin(async move {
            let _share = self
                .commands
                .try_acquire()
                .map_err(|_| EngineError::Behind)?;
            let deadline_ms = self.core.real.now_ms() + millis(PUBLISH_TIMEOUT);
            let number = self.core.number();
            let Control::Disconnect { user } = control;
            let stored = Stored::Control {
                disconnect: user.as_str().into(),
                by: self.core.writer.as_str().into(),
                number,
            };
            let entry = NewEntry {
                source: None,
                json: stored.to_json(),
            };
            let live = self.live(deadline_ms).await?;
            self.append(vec![entry], 1).await?;
            ended::total(&self.core, number, live, deadline_ms).await
        })
    }

    fn health(&self) -> EngineHealth {
        self.core.state.health()
    }

    fn is_current(&self) -> bool {
        self.core.state.is_current(self.core.settings.max_stale)
    }

    fn node(&self) -> Option<&str> {
        Some(&self.core.settings.node)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn read_up_to(&self, id: EventId) -> Promise<'_, ()> {
        let (log, newest) = (self.core.tail.log(), self.core.state.seen());
        // No node can have read what is from the future.
        if id <= newest || id.ms > self.core.unix_ms() + millis(CLOCK_TOLERANCE) {
            return Promise::Now(());
        }
        Promise::Later(Box::pin(async move {
            self.core
                .real
                .within(READ_TIMEOUT, log.read_up_to(id))
                .await;
        }))
    }

    fn applied(&self, id: EventId) -> Promise<'_, Applied> {
        Promise::Later(Box::pin(async move {
            let deadline_ms = self.core.real.now_ms() + millis(APPLY_TIMEOUT);
            let (of, missing) = beat::wait_for_all(&self.core, id, deadline_ms).await;
            Applied { of, missing }
        }))
    }

    fn nodes(&self) -> Promise<'_, Result<Vec<NodeStatus>, EngineError>> {
        Promise::Later(Box::pin(async move {
            let deadline_ms = self.core.real.now_ms() + millis(PUBLISH_TIMEOUT);
            let live = self.live(deadline_ms).await?;
            let now_ms = self.core.store_unix_ms();
            let status = |node: nodes::Live| NodeStatus {
                is_self: node.name == self.core.settings.node,
                name: node.name,
                age: Duration::from_millis(now_ms.saturating_sub(node.said.started_ms)),
                lag: Duration::from_millis(node.said.lag_ms),
                connections: node.said.connections,
                users: node.said.users,
                version: node.said.version,
            };
            Ok(live.into_iter().map(status).collect())
        }))
    }

    fn figures(&self) -> Option<EngineFigures> {
        Some(EngineFigures {
            limited_here: self.core.places.decided_here(),
            ..self.core.state.figures()
        })
    }

    fn unix_ms(&self) -> u64 {
        self.core.unix_ms()
    }

    fn register(&self) -> &dyn Register {
        &self.register
    }

    fn continued(&self) -> Option<&dyn Continued> {
        Some(self)
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // Requests that wait are answered first.
            drop(self.requests.lock().take());
            let running = self.running.lock().take();
            let attached = self.core.attached.borrow().clone();
            if let Some(attached) = attached {
                let end = async {
                    self.core.drained.notified().await;
                    // A lease that is not given up ends by itself.
                    let _ = beat::leave(&self.core, &attached).await;
                };
                self.core.real.within(CLOSE_TIMEOUT, end).await;
            }
            if let Some(running) = running {
                running.abort();
            }
        })
    }
}
