//! The durable engine: it hands requests to the writer's thread, and bounds how many may wait.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::believed::BelievedTime;
use super::bounds::Bounds;
use super::health::{HistoryState, SharedState};
use super::session_log::{Change, ChangeKind};
use super::store::StoreError;
use super::writer::{self, Left, Request, Stop, Work, Writer, WriterParts};
use crate::clock::Clock;
use crate::config::History;
use crate::engine::handover;
use crate::engine::local_register::LocalRegister;
use crate::engine::tail::{MAX_COMMANDS, Tail};
use crate::engine::waiting::{MAX_WAITING_KIB, Waiting, kib, one_each};
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::directory::Directory;
use crate::hub::engine::{
    Answer, Continued, Engine, EngineError, EngineHealth, EngineState, LocalNode, NotContinued,
    Notice, OpenError, PortableEntry, PortableLog, Register,
};
use crate::hub::log::{Control, DispatchedLog, Entry, Log};

/// Highest number of requests with such a share, of control entries, and of requests to stop.
const MAX_REQUESTS: usize = MAX_WAITING_KIB as usize + MAX_COMMANDS + 1;
/// Longest wait for the directory of a process that ends: the kernel unlocks it a moment after the process's sockets are
/// closed.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// An engine that keeps its history in a directory. It starts the thread that owns the store.
pub(crate) struct DurableEngine {
    path: PathBuf,
    history: History,
    pub(super) bounds: Bounds,
    tail: Tail,
    directory: Arc<Directory>,
    clock: Clock,
    register: LocalRegister,
    pub(super) health: Arc<SharedState>,
    waiting: Waiting,
    writer: Mutex<Option<Handle>>,
    /// Tells the writer that has stopped to go on. Dropped, it tells the writer to end.
    stopped: Mutex<Option<Sender<()>>>,
    /// True once the log has begun as another process has described it.
    has_begun: AtomicBool,
}

/// The directory of `history.path` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("history.path: `{}` {source}", path.display())]
struct CannotOpen {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The engine's end of the writer's thread.
struct Handle {
    requests: SyncSender<Work>,
    ended: oneshot::Receiver<()>,
}

impl DurableEngine {
    /// An engine that appends to `log`, and keeps its history at `path` with the settings of `history`.
    pub(crate) fn new(
        path: PathBuf,
        history: History,
        log: Arc<Log>,
        directory: Arc<Directory>,
        clock: Clock,
    ) -> Self {
        Self {
            path,
            history,
            bounds: Bounds::default(),
            tail: Tail::new(log, clock.clone()),
            directory,
            register: LocalRegister::new(clock.clone()),
            clock,
            health: Arc::default(),
            waiting: Waiting::default(),
            writer: Mutex::default(),
            stopped: Mutex::default(),
            has_begun: AtomicBool::new(false),
        }
    }

    /// Starts the writer's thread, which opens the directory. Returns the session changes that no entry of the log
    /// stands for.
    async fn start(
        &self,
        lock_patience: Duration,
        open: impl FnOnce(WriterParts) -> Result<(Writer, Vec<Change>), StoreError> + Send + 'static,
    ) -> Result<Vec<Change>, StoreError> {
        let (requests, waiting) = sync_channel(MAX_REQUESTS);
        let (opened, is_open) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let parts = WriterParts {
            path: self.path.clone(),
            history: self.history.clone(),
            bounds: self.bounds,
            tail: self.tail.clone(),
            directory: Arc::clone(&self.directory),
            clock: self.clock.clone(),
            health: Arc::clone(&self.health),
            lock_patience,
        };
        let run = move || {
            match open(parts.clone()) {
                Ok((writer, replayed)) => {
                    // A caller that has left needs no answer, here and below.
                    let _ = opened.send(Ok(replayed));
                    writer::serve(writer, &parts, &waiting);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
            let _ = end.send(());
        };
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(run)?;
        let replayed = is_open
            .await
            .map_err(|_| std::io::Error::other("its thread ended"))??;
        *self.writer.lock() = Some(Handle { requests, ended });
        Ok(replayed)
    }

    /// Starts to write in a directory that another process has left.
    async fn continue_history(&self, left: Left) -> Result<Vec<Change>, NotContinued> {
        let started = if self.has_begun.load(Ordering::Relaxed) {
            let take_over = move |parts| Writer::take_over(parts, left);
            self.start(LOCK_PATIENCE, take_over).await
        } else {
            // Nothing was handed over.
            self.start(LOCK_PATIENCE, open).await
        };
        started.map_err(|error| NotContinued(self.failed(error).to_string()))
    }

    fn failed(&self, source: StoreError) -> OpenError {
        OpenError::new(CannotOpen {
            path: self.path.clone(),
            source: Box::new(source),
        })
    }

    async fn ask<T>(
        &self,
        kib: u32,
        request: impl FnOnce(oneshot::Sender<Result<T, EngineError>>, OwnedSemaphorePermit) -> Request,
    ) -> Result<T, EngineError> {
        let share = self.waiting.share(kib, &self.clock).await?;
        self.tail.room().await?;
        let (reply, answer) = oneshot::channel();
        self.send(Work::Store(request(reply, share)))?;
        answer.await.unwrap_or(Err(EngineError::NotOpen))
    }

    /// Hands work to the writer, without waiting.
    fn send(&self, work: Work) -> Result<(), EngineError> {
        let writer = self.writer.lock();
        let writer = writer.as_ref().ok_or(EngineError::NotOpen)?;
        writer.requests.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => EngineError::Behind,
            TrySendError::Disconnected(_) => EngineError::NotOpen,
        })
    }
}

/// Opens a directory at a start.
fn open(parts: WriterParts) -> Result<(Writer, Vec<Change>), StoreError> {
    Writer::open(parts).map(|writer| (writer, Vec::new()))
}

impl Engine for DurableEngine {
    fn kind(&self) -> &'static str {
        "durable"
    }

    fn open(&self, node: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        self.tail.belongs_to(node);
        Box::pin(async move {
            let opened = self.start(Duration::ZERO, open).await;
            opened.map(drop).map_err(|error| self.failed(error))
        })
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>> {
        Box::pin(async move {
            let count = drafts.len();
            let kib = drafts.iter().map(|draft| kib(&draft.data)).sum();
            let publish = |reply, share| Request::Publish {
                drafts,
                reply,
                share,
                span: Span::current(),
            };
            one_each(self.ask(kib, publish).await, count)
        })
    }

    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>> {
        let data = notice.force_logout();
        Box::pin(
            self.ask(kib(&data), move |reply, share| Request::ChangeSession {
                change,
                data,
                reply,
                share,
                span: Span::current(),
            }),
        )
    }

    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>> {
        Box::pin(self.tail.command(control, |control, receipt| {
            self.send(Work::Append(control, receipt))
        }))
    }

    fn health(&self) -> EngineHealth {
        self.health.health()
    }

    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    fn register(&self) -> &dyn Register {
        &self.register
    }

    fn continued(&self) -> Option<&dyn Continued> {
        Some(self)
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.stopped.lock().take();
            let handle = self.writer.lock().take();
            if let Some(Handle { requests, ended }) = handle {
                self.health.set(HistoryState::NotOpen);
                drop(requests);
                let _ = ended.await;
            }
        })
    }
}

impl Continued for DurableEngine {
    fn history(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn expect_predecessor(&self, node: Weak<dyn LocalNode>) {
        self.tail.belongs_to(node);
        let time = BelievedTime::of_another(&self.path, &self.clock);
        self.directory.begin_at(time);
    }

    fn describe(&self, entry: &Entry) -> PortableEntry {
        handover::describe(&self.tail, entry)
    }

    fn describe_log(&self, log: &DispatchedLog) -> PortableLog {
        let mut log = handover::describe_log(log);
        log.everyone_ms = self.directory.everyone_ms();
        log
    }

    fn describe_retained(&self, entry: &Entry, left_ms: u64) -> PortableEntry {
        handover::describe_retained(&self.tail, entry, left_ms)
    }

    fn stop(&self) -> Answer<'_, Result<EngineState, NotContinued>> {
        Box::pin(async move {
            let closed = |_| NotContinued("the history is closed".to_owned());
            let (resume, resumed) = channel();
            let (reply, stopped) = oneshot::channel();
            *self.stopped.lock() = Some(resume);
            self.send(Work::Stop(Stop { reply, resumed }))
                .map_err(closed)?;
            let stopped = stopped.await.map_err(|_| closed(EngineError::NotOpen))?;
            let (tickets, failures) = self.register.stop();
            Ok(EngineState {
                newest: stopped.newest.to_string(),
                // They are in the directory.
                tickets,
                failures,
                history: Some(stopped.history),
                shared: None,
            })
        })
    }

    fn resume(&self) {
        if let Some(resume) = self.stopped.lock().take() {
            // The writer may have ended, because the engine is being closed.
            let _ = resume.send(());
        }
        self.register.resume();
    }

    fn leave(&self) {
        self.health.set(HistoryState::NotOpen);
        self.stopped.lock().take();
        self.writer.lock().take();
    }

    fn begin(
        &self,
        log: &PortableLog,
        retained: &mut dyn Iterator<Item = PortableEntry>,
    ) -> Result<(), NotContinued> {
        self.directory.log_everyone_out(log.everyone_ms);
        self.has_begun.store(true, Ordering::Relaxed);
        handover::begin(&self.tail, log, retained)
    }

    fn follow(&self, entry: &PortableEntry) -> Result<(), NotContinued> {
        handover::follow(&self.tail, entry)
    }

    fn go_on_alone(&self, _is_in_step: bool) -> Answer<'_, Result<(), NotContinued>> {
        Box::pin(async move {
            let replayed = self.continue_history(Left::Early).await?;
            // The standings come after all entries that are older.
            self.tail.log().all_dispatched().await;
            let unix_ms = self.directory.time(&self.clock).unix_ms(&self.clock);
            let settled = self.tail.log().head();
            for change in replayed {
                if let ChangeKind::Session { user, standing } = change.kind
                    && let Ok(standing) = serde_json::from_str(&standing)
                {
                    self.directory.restore(&user, standing, unix_ms, settled);
                }
            }
            Ok(())
        })
    }

    fn take_over(&self, state: EngineState) -> Answer<'_, Result<(), NotContinued>> {
        Box::pin(async move {
            let end = state.history;
            let left = Left::Complete {
                newest: handover::id(&state.newest)?,
                end: end.ok_or_else(|| NotContinued("it has no history".to_owned()))?,
            };
            self.continue_history(left).await?;
            self.register.take_over(state.tickets, state.failures);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::Work;
    use super::*;
    use crate::engine::tail::COMMAND_TIMEOUT;
    use crate::event::{EventId, UserId};

    #[tokio::test]
    async fn a_command_waits_seconds_for_a_stuck_writer_and_is_not_carried_out_late() {
        let clock = Clock::manual(1_000_000);
        let log = Log::new(1 << 20, std::time::Duration::MAX, EventId::origin(1));
        let engine = Arc::new(DurableEngine::new(
            PathBuf::new(),
            History::default(),
            Arc::new(log),
            Arc::default(),
            clock.clone(),
        ));
        let (requests, stuck) = sync_channel(MAX_REQUESTS);
        let (_end, ended) = oneshot::channel();
        *engine.writer.lock() = Some(Handle { requests, ended });
        let asking = Arc::clone(&engine);
        let user = UserId::new("42").unwrap();
        let asked = tokio::spawn(async move { asking.command(Control::Disconnect { user }).await });
        tokio::task::yield_now().await;
        let Ok(Work::Append(_, receipt)) = stuck.try_recv() else {
            panic!("the writer does not have it");
        };
        assert!(receipt.is_wanted());
        clock.advance(COMMAND_TIMEOUT);
        assert_eq!(asked.await.unwrap(), Err(EngineError::Unknown));
        assert!(!receipt.is_wanted());
    }
}
