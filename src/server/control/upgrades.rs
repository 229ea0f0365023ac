//! Upgrades without a disconnect, whoever asks for them: `idlewild upgrade` or SIGUSR2. At most one runs at a time. It
//! does not end with the connection of the caller, since a hand-over cannot be left half done.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::hub::engine::Answer;
use crate::metrics::{Metrics, UpgradeOutcome};

/// Lines of progress that wait for a slow caller; further ones are only logged.
const MAX_WAITING: usize = 64;

/// Starts another program and hands everything over to it.
pub(crate) trait Upgrader: Send + Sync {
    /// Hands everything over to `binary`, or to the program that is now at the path of the running one. When this
    /// returns a report, the new process serves, and this one has nothing left to do but to end.
    ///
    /// # Errors
    /// [`UpgradeError`]; this process then goes on serving.
    fn upgrade(
        &self,
        binary: Option<PathBuf>,
        progress: UpgradeProgress,
    ) -> Answer<'_, Result<UpgradeReport, UpgradeError>>;
}

/// What an upgrade has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpgradeReport {
    /// The id of the new process.
    pub(crate) pid: u32,
    /// The version of the new process.
    pub(crate) version: String,
    /// Connections that were handed over.
    pub(crate) connections: u64,
    /// Connections that ended during the hand-over, for whatever reason.
    pub(crate) lost: u64,
    /// Time from the request to the end of the hand-over.
    pub(crate) took_ms: u64,
    /// Longest time for which one client was served by neither process.
    pub(crate) longest_pause_ms: u64,
}

/// Why there was no upgrade, in one sentence.
#[derive(Clone, Debug, Error)]
pub(crate) enum UpgradeError {
    /// It did not begin, and nothing has changed.
    #[error("{0}")]
    Declined(String),
    /// It began and was not completed. Clients may have been disconnected.
    #[error("{0}")]
    Failed(String),
}

/// Tells the log, and the caller if one waits, what an upgrade is doing.
#[derive(Clone, Debug)]
pub(crate) struct UpgradeProgress(mpsc::Sender<String>);

/// All upgrades of this process.
pub(crate) struct Upgrades {
    upgrader: Arc<dyn Upgrader>,
    metrics: Arc<Metrics>,
    stage: Mutex<Stage>,
    /// Becomes true when an upgrade is done.
    is_done: watch::Sender<bool>,
}

/// An upgrade that has begun, as its caller sees it. It goes on if this is dropped.
#[derive(Debug)]
pub(crate) struct RunningUpgrade {
    /// What it is doing.
    pub(super) progress: mpsc::Receiver<String>,
    /// Its result. Closed without one if it panicked.
    pub(super) result: oneshot::Receiver<Result<UpgradeReport, UpgradeError>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Running {
        /// This process has read its configuration again meanwhile. The new one may have read it before.
        was_reloaded: bool,
    },
    Done {
        /// The id of the new process.
        successor: u32,
    },
}

impl UpgradeError {
    fn outcome(&self) -> UpgradeOutcome {
        match self {
            Self::Declined(_) => UpgradeOutcome::Declined,
            Self::Failed(_) => UpgradeOutcome::Failed,
        }
    }
}

impl UpgradeProgress {
    /// Reports a step, in one short sentence.
    pub(crate) fn report(&self, step: impl Into<String>) {
        let step = step.into();
        tracing::info!(%step, "upgrading");
        // Dropped if nobody waits, or if the caller is slow (MAX_WAITING).
        let _ = self.0.try_send(step);
    }
}

impl Upgrades {
    pub(crate) fn new(upgrader: Arc<dyn Upgrader>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            upgrader,
            metrics,
            stage: Mutex::new(Stage::Idle),
            is_done: watch::Sender::new(false),
        })
    }

    /// Begins an upgrade on the current runtime, and logs its result.
    ///
    /// # Errors
    /// [`UpgradeError::Declined`] if one is running already, or is done.
    pub(crate) fn begin(
        self: &Arc<Self>,
        binary: Option<PathBuf>,
    ) -> Result<RunningUpgrade, UpgradeError> {
        let place = self
            .take_place()
            .inspect_err(|error| self.note(Err(error)))?;
        tracing::info!(
            binary = binary
                .as_ref()
                .map(|path| tracing::field::display(path.display())),
            "upgrade requested"
        );
        let (step, progress) = mpsc::channel(MAX_WAITING);
        let (concluded, result) = oneshot::channel();
        tokio::spawn(async move {
            let upgrades = Arc::clone(&place.0);
            let upgrade = upgrades.upgrader.upgrade(binary, UpgradeProgress(step));
            let result = upgrade.await;
            upgrades.note(result.as_ref());
            let is_done = result.is_ok();
            if let Ok(report) = &result {
                upgrades.note_successor(report.pid);
            }
            // The place is free before the caller knows.
            drop(place);
            // The caller may have gone.
            let _ = concluded.send(result);
            upgrades.is_done.send_replace(is_done);
        });
        Ok(RunningUpgrade { progress, result })
    }

    /// Waits until an upgrade is done, so that this process can end.
    pub(crate) async fn done(&self) {
        // An error would mean that the sender is gone, which is in `self`.
        let _ = self.is_done.subscribe().wait_for(|is_done| *is_done).await;
    }

    /// Called when this process has read its configuration again. A new process that has taken over, or is about to, does
    /// the same: what it read at its start may be out of date.
    pub(crate) fn pass_reload_on(&self) {
        match &mut *self.stage.lock() {
            Stage::Idle => {}
            Stage::Running { was_reloaded } => *was_reloaded = true,
            Stage::Done { successor } => ask_to_reload(*successor),
        }
    }

    fn note_successor(&self, successor: u32) {
        let mut stage = self.stage.lock();
        let before = std::mem::replace(&mut *stage, Stage::Done { successor });
        if before == (Stage::Running { was_reloaded: true }) {
            ask_to_reload(successor);
        }
    }

    fn take_place(self: &Arc<Self>) -> Result<Place, UpgradeError> {
        let mut stage = self.stage.lock();
        let problem = match *stage {
            Stage::Idle => {
                *stage = Stage::Running {
                    was_reloaded: false,
                };
                return Ok(Place(Arc::clone(self)));
            }
            Stage::Running { .. } => "another upgrade is running (the log has its result)",
            Stage::Done { .. } => "an upgrade is done, and this process is ending",
        };
        Err(UpgradeError::Declined(problem.to_owned()))
    }

    /// Counts and logs a result.
    fn note(&self, result: Result<&UpgradeReport, &UpgradeError>) {
        let outcome = result.map_or_else(UpgradeError::outcome, |_| UpgradeOutcome::Done);
        self.metrics.upgrades.at(outcome as usize).increment();
        match result {
            Ok(report) => tracing::info!(
                pid = report.pid,
                version = report.version,
                connections = report.connections,
                lost = report.lost,
                took_ms = report.took_ms,
                longest_pause_ms = report.longest_pause_ms,
                "upgraded"
            ),
            Err(error) => {
                tracing::error!(%error, outcome = outcome.label(), "not upgraded");
            }
        }
    }
}

/// Asks the new process to read its configuration again. It listens to signals before it says that it is ready. Its id
/// belongs to nobody else while this process, its parent, lives.
fn ask_to_reload(successor: u32) {
    let pid = i32::try_from(successor).ok().and_then(Pid::from_raw);
    if let Some(Ok(())) = pid.map(|pid| kill_process(pid, Signal::HUP)) {
        tracing::info!(pid = successor, "the new process reloads, too");
    } else {
        tracing::error!(pid = successor, "the new process cannot be asked to reload");
    }
}

/// The right to upgrade. Given back when dropped, even if the upgrade has panicked.
struct Place(Arc<Upgrades>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut stage = self.0.stage.lock();
        if matches!(*stage, Stage::Running { .. }) {
            *stage = Stage::Idle;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::process::ExitStatusExt;

    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    /// An upgrader that reports a step, and waits for its result from the test.
    pub(crate) struct Told(
        pub(crate) tokio::sync::Mutex<mpsc::Receiver<Result<UpgradeReport, UpgradeError>>>,
    );

    impl Upgrader for Told {
        fn upgrade(
            &self,
            binary: Option<PathBuf>,
            progress: UpgradeProgress,
        ) -> Answer<'_, Result<UpgradeReport, UpgradeError>> {
            Box::pin(async move {
                progress.report(format!("starting {binary:?}"));
                self.0.lock().await.recv().await.expect("the test tells it")
            })
        }
    }

    pub(crate) fn report() -> UpgradeReport {
        UpgradeReport {
            pid: 7,
            version: "1.2.3".into(),
            connections: 15_000,
            lost: 1,
            took_ms: 900,
            longest_pause_ms: 40,
        }
    }

    /// Upgrades, and how to end the one that runs.
    pub(crate) fn upgrades() -> (
        Arc<Upgrades>,
        mpsc::Sender<Result<UpgradeReport, UpgradeError>>,
    ) {
        let (tell, told) = mpsc::channel(1);
        let upgrader = Told(tokio::sync::Mutex::new(told));
        let metrics = Arc::new(Metrics::new(1));
        (Upgrades::new(Arc::new(upgrader), metrics), tell)
    }

    fn counts(upgrades: &Upgrades) -> [u64; 3] {
        [0, 1, 2].map(|outcome| upgrades.metrics.upgrades.at(outcome).value())
    }

    #[tokio::test]
    async fn a_second_upgrade_is_declined_while_one_runs() {
        let (upgrades, tell) = upgrades();
        let mut first = upgrades.begin(None).unwrap();
        let error = upgrades.begin(None).unwrap_err();
        assert!(
            error.to_string().contains("another upgrade is running"),
            "{error}"
        );
        assert_eq!(first.progress.recv().await.unwrap(), "starting None");
        let failed = Err(UpgradeError::Failed("the new process has ended".into()));
        tell.send(failed).await.unwrap();
        assert!(first.result.await.unwrap().is_err());
        assert_eq!(counts(&upgrades), [0, 1, 1]);

        let next = upgrades.begin(None).unwrap();
        tell.send(Ok(report())).await.unwrap();
        assert_eq!(next.result.await.unwrap().unwrap(), report());
        upgrades.done().await;
        assert!(upgrades.begin(None).is_err());
        assert_eq!(counts(&upgrades), [1, 2, 1]);
    }

    #[tokio::test]
    async fn a_new_process_is_asked_for_a_reload_that_it_may_have_missed() {
        // A program starts with the default for a signal that is handled here, even if this was started by nohup.
        let _hangups = signal(SignalKind::hangup()).unwrap();
        for is_late in [false, true] {
            let (upgrades, tell) = upgrades();
            // It changes nothing without an upgrade.
            upgrades.pass_reload_on();
            let running = upgrades.begin(None).unwrap();
            // The signal ends a program that does not expect it.
            let mut successor = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .unwrap();
            if !is_late {
                upgrades.pass_reload_on();
            }
            let report = UpgradeReport {
                pid: successor.id(),
                ..report()
            };
            tell.send(Ok(report)).await.unwrap();
            running.result.await.unwrap().unwrap();
            if is_late {
                assert!(successor.try_wait().unwrap().is_none());
                upgrades.pass_reload_on();
            }
            let signal = successor.wait().unwrap().signal();
            assert_eq!(signal, Some(Signal::HUP.as_raw()));
        }
    }

    #[tokio::test]
    async fn an_upgrade_goes_on_without_its_caller() {
        let (upgrades, tell) = upgrades();
        drop(upgrades.begin(Some("/x".into())).unwrap());
        tell.send(Ok(report())).await.unwrap();
        upgrades.done().await;
        assert_eq!(counts(&upgrades), [1, 0, 0]);
    }
}
