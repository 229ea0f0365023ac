//! The old process's part of an upgrade.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use super::error::HandoverError;
use super::hand_over::{HandOver, ProcessParts};
use super::peer::Peer;
use super::start::{self, Program};
use super::successor::Successor;
use crate::admin::PassedConnection;
use crate::hub::engine::{Answer, Continued, EngineHealth};
use crate::server::control::{SpareName, UpgradeError, UpgradeProgress, UpgradeReport, Upgrader};

/// The running process, as it hands everything over to another.
pub(in crate::server) struct OldProcess {
    pub(in crate::server) parts: ProcessParts,
    pub(in crate::server) program: Program,
    /// Longest time for a hand-over.
    pub(in crate::server) timeout: Duration,
}

impl Upgrader for OldProcess {
    fn upgrade(
        &self,
        binary: Option<PathBuf>,
        progress: UpgradeProgress,
    ) -> Answer<'_, Result<UpgradeReport, UpgradeError>> {
        Box::pin(async move {
            let upgraded = self.hand_over(binary.as_deref(), progress).await;
            upgraded.map_err(UpgradeError::from)
        })
    }
}

impl OldProcess {
    /// Lets a new process take everything over.
    ///
    /// # Errors
    /// [`HandoverError`]. This process serves as before then, except for streams that had left already.
    async fn hand_over(
        &self,
        binary: Option<&Path>,
        progress: UpgradeProgress,
    ) -> Result<UpgradeReport, HandoverError> {
        let engine = self.parts.hub.engine();
        let continued = engine.continued();
        let continued = continued.ok_or(HandoverError::Engine(engine.kind()))?;
        match engine.health() {
            EngineHealth::Well => {}
            EngineHealth::Failing(reason) => {
                return Err(HandoverError::NotWell(reason.to_string()));
            }
            EngineHealth::Away(reason) => {
                return Err(HandoverError::NotWell(reason.to_string()));
            }
        }
        let clock = &self.parts.hub.clock;
        let begun_ms = clock.now_ms();
        let (child, stream) = start::start(binary.unwrap_or_else(|| self.program.path()))?;
        // In this order, so that the new process has ended when this one goes on.
        let mut attempt = Attempt {
            old: &self.parts,
            continued,
            passed: Vec::new(),
            control: None,
            is_done: false,
        };
        let mut child = NewProcess {
            child: Some(child),
            may_serve: false,
        };
        let peer = Peer::new(stream)?;
        let successor = Successor {
            peer,
            clock: clock.clone(),
            patience: self.timeout,
        };
        let mut hand_over = HandOver::new(
            &self.parts,
            continued,
            successor,
            &mut attempt.passed,
            progress,
        );
        let mut stopping = self.parts.shutdown.waiter();
        let mut done = tokio::select! {
            biased;
            done = clock.within(self.timeout, hand_over.run()) => {
                done.unwrap_or(Err(HandoverError::Late))
            }
            () = stopping.draining() => Err(HandoverError::Stopping),
        };
        if done.is_ok() {
            attempt.control = self.spare_name();
            // From here on, only an error brings everything back. This may be dropped at the end of the process, when the
            // new one may serve.
            attempt.is_done = true;
            child.may_serve = true;
            let took_ms = clock.now_ms() - begun_ms;
            done = hand_over.commit(took_ms, &mut stopping).await;
            if done.is_err() {
                attempt.is_done = false;
                // The new process may have called itself the main one, whose end is the end of the service.
                self.parts.supervisor.stay_main();
            }
        }
        let mut report = hand_over.report();
        if let Err(error) = done {
            hand_over.take_back();
            self.parts.hub.let_leave(false);
            child.end().await;
            drop(attempt);
            return Err(error);
        }
        child.keep();
        continued.leave();
        self.parts.admin.leave();
        report.took_ms = clock.now_ms() - begun_ms;
        Ok(report)
    }

    /// Another name of the control socket, if it has one and can have two.
    fn spare_name(&self) -> Option<SpareName> {
        let spare = self.parts.control.as_ref().map(SpareName::of);
        match spare.transpose() {
            Ok(spare) => spare.flatten(),
            Err(error) => {
                tracing::warn!(%error, "if this upgrade fails, the control socket may have no name");
                None
            }
        }
    }
}

/// An upgrade that has begun. Unless it is done when this is dropped, the old process goes on.
struct Attempt<'a> {
    old: &'a ProcessParts,
    continued: &'a dyn Continued,
    /// Admin connections that were passed on. Both processes have them.
    passed: Vec<PassedConnection>,
    /// Once the new process may take the control socket's name.
    control: Option<SpareName>,
    is_done: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            if let Some(Err(error)) = self.control.take().map(SpareName::restore) {
                tracing::error!(%error, "no control socket");
            }
            let passed = std::mem::take(&mut self.passed);
            self.old.go_on(self.continued, passed);
        }
    }
}

/// The new process. It is ended when dropped, unless it may serve.
struct NewProcess {
    child: Option<Child>,
    may_serve: bool,
}

impl NewProcess {
    /// Ends it, and waits until it has ended: it may have thousands of sockets.
    async fn end(mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = tokio::task::spawn_blocking(move || {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            });
            // An error would mean that the runtime is being shut down.
            let _ = ended.await;
        }
    }

    /// It serves now. When this process ends, the kernel gives it another parent.
    fn keep(mut self) {
        self.child = None;
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.may_serve
            && let Some(child) = &mut self.child
        {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
