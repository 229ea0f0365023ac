//! How far the server is on its way down. There is one for all that has to know, and no way back.

use tokio::sync::watch;

/// Serving, draining, or stopped. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(watch::Sender<Phase>);

/// Waits for a phase to come; for a task that waits more than once.
#[derive(Debug)]
pub(crate) struct Waiter(watch::Receiver<Phase>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Serving,
    /// What is under way is brought to its end, and nothing new begins.
    Draining,
    /// Clients and their shards are gone; the rest goes, too.
    Stopped,
}

impl Shutdown {
    /// Begins the drain.
    pub(crate) fn start_drain(&self) {
        self.enter(Phase::Draining);
    }

    /// Ends whatever still waits.
    pub(crate) fn stop(&self) {
        self.enter(Phase::Stopped);
    }

    /// Whether a drain has begun, and perhaps ended.
    pub(crate) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Whether the drain has ended.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow() >= Phase::Stopped
    }

    pub(crate) fn waiter(&self) -> Waiter {
        Waiter(self.0.subscribe())
    }

    /// Runs a task on the current runtime until it ends or the server has stopped.
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
    /// Waits until a drain has begun.
    pub(crate) async fn draining(&mut self) {
        self.reach(Phase::Draining).await;
    }

    /// Waits until the drain has ended.
    pub(crate) async fn stopped(&mut self) {
        self.reach(Phase::Stopped).await;
    }

    async fn reach(&mut self, phase: Phase) {
        // An error means that the server is gone altogether.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_that_has_passed_is_not_waited_for_and_none_comes_back() {
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
