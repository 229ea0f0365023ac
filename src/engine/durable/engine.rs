//! The durable engine: it hands requests to the writer's thread, and bounds how many may wait.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::bounds::Bounds;
use super::health::{HistoryState, SharedState};
use super::store::StoreError;
use super::writer::{Request, Work, Writer};
use crate::clock::Clock;
use crate::config::History;
use crate::engine::local_register::LocalRegister;
use crate::engine::tail::{MAX_COMMANDS, Tail};
use crate::engine::waiting::{MAX_WAITING_KIB, Waiting, kib, one_each};
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::directory::Directory;
use crate::hub::engine::{
    Answer, Engine, EngineError, EngineHealth, LocalNode, Notice, OpenError, Register,
};
use crate::hub::log::{Control, Log};

/// Highest number of requests with such a share, and of control entries.
const MAX_REQUESTS: usize = MAX_WAITING_KIB as usize + MAX_COMMANDS;

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
        }
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

impl Engine for DurableEngine {
    fn kind(&self) -> &'static str {
        "durable"
    }

    fn open(&self, _: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        Box::pin(async move {
            let (requests, waiting) = sync_channel(MAX_REQUESTS);
            let (opened, is_open) = oneshot::channel();
            let (end, ended) = oneshot::channel();
            let (path, history, bounds) = (self.path.clone(), self.history.clone(), self.bounds);
            let (tail, directory) = (self.tail.clone(), Arc::clone(&self.directory));
            let (clock, health) = (self.clock.clone(), Arc::clone(&self.health));
            let run = move || {
                match Writer::open(&path, &history, bounds, tail, directory, clock, health) {
                    Ok(writer) => {
                        // A caller that has left needs no answer, here and below.
                        let _ = opened.send(Ok(()));
                        writer.run(&waiting);
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
                let _ = end.send(());
            };
            std::thread::Builder::new()
                .name("history".to_owned())
                .spawn(run)
                .map_err(|error| self.failed(error.into()))?;
            match is_open.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(self.failed(error)),
                Err(_) => {
                    let gone = std::io::Error::other("its thread ended");
                    return Err(self.failed(gone.into()));
                }
            }
            *self.writer.lock() = Some(Handle { requests, ended });
            Ok(())
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

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let handle = self.writer.lock().take();
            if let Some(Handle { requests, ended }) = handle {
                self.health.set(HistoryState::NotOpen);
                drop(requests);
                let _ = ended.await;
            }
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
