//! The phase of the server's shutdown, shared by all tasks. It only moves forward.

use tokio::sync::watch;

/// Serving, draining, or stopped. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(watch::Sender<Phase>);

/// Waits for a phase; for tasks that wait more than once.
#[derive(Debug)]
pub(crate) struct Waiter(watch::Receiver<Phase>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Serving,
    /// Work in progress is completed, and no new work begins.
    Draining,
    /// Clients and shards are gone, and all other tasks end.
    Stopped,
}

impl Shutdown {
    /// Starts the drain.
    pub(crate) fn start_drain(&self) {
        self.enter(Phase::Draining);
    }

    /// Ends all tasks that are still running.
    pub(crate) fn stop(&self) {
        self.enter(Phase::Stopped);
    }

    /// Returns true if the drain has started, even if it has ended since.
    pub(crate) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Returns true if the drain has ended.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow() >= Phase::Stopped
    }

    pub(crate) fn waiter(&self) -> Waiter {
        Waiter(self.0.subscribe())
    }

    /// Runs a task on the current runtime until it ends or the server stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut waiter = self.waiter();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                () = waiter.stopped() => {}
            }
        });
    }

    fn enter(&self, phase: Phase) {
        self.0.send_modify(|now| *now = phase.max(*now));
    }
}

impl Waiter {
    /// Waits until the drain has started.
    pub(crate) async fn draining(&mut self) {
        self.reach(Phase::Draining).await;
    }

    /// Waits until the drain has ended.
    pub(crate) async fn stopped(&mut self) {
        self.reach(Phase::Stopped).await;
    }

    async fn reach(&mut self, phase: Phase) {
        // An error means that the server no longer exists.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_move_forward() {
        let shutdown = Shutdown::default();
        let mut waiter = shutdown.waiter();
        assert!(!shutdown.is_draining() && !shutdown.is_stopped());
        shutdown.start_drain();
        waiter.draining().await;
        assert!(shutdown.is_draining() && !shutdown.is_stopped());
        shutdown.stop();
        shutdown.start_drain();
        assert!(shutdown.is_draining() && shutdown.is_stopped());
        waiter.draining().await;
        waiter.stopped().await;
    }

    #[tokio::test]
    async fn a_task_ends_when_the_server_has_stopped() {
        let shutdown = Shutdown::default();
        let alive = watch::Sender::new(());
        let of_task = alive.subscribe();
        shutdown.spawn(async move {
            let _of_task = of_task;
            std::future::pending::<()>().await;
        });
        shutdown.start_drain();
        tokio::task::yield_now().await;
        assert!(!alive.is_closed());
        shutdown.stop();
        alive.closed().await;
    }
}
