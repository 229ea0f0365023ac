//! A node's way to the store. Tests make it slow, cut it, or let it lose replies.

use std::sync::Arc;

use tokio::sync::watch;

use super::store::{SimulatedState, SimulatedStore};

/// The connection is gone. A write may have reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkLost {
    #[error("the store cannot be reached")]
    Cut,
    #[error("the store has another leader")]
    Moved,
    #[error("the reply was lost")]
    NoReply,
    #[error("no sign of life from the store")]
    Silent,
    #[error("the store has dropped entries that were not read yet")]
    Trimmed,
    #[error("the store's log is out of order")]
    OutOfOrder,
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // they are independent
pub(super) struct Faults {
    /// Nothing passes.
    pub(super) is_cut: bool,
    /// Reads wait.
    pub(super) holds_reads: bool,
    /// Writes wait.
    pub(super) holds_writes: bool,
    /// Writes arrive, but their replies do not.
    pub(super) loses_replies: bool,
}

/// A node's link to the store.
#[derive(Clone)]
pub(super) struct SimulatedLink {
    store: Arc<SimulatedStore>,
    faults: watch::Sender<Faults>,
}

impl SimulatedLink {
    pub(super) fn new(store: Arc<SimulatedStore>) -> Self {
        Self {
            store,
            faults: watch::Sender::new(Faults::default()),
        }
    }

    /// Asks the leader of this number.
    pub(super) async fn read<T>(
        &self,
        run: u64,
        look: impl FnOnce(&SimulatedState) -> T,
    ) -> Result<T, LinkLost> {
        self.pass(|faults| faults.holds_reads).await?;
        self.store.look(|state| {
            let answer = (state.run() == run).then(|| look(state));
            answer.ok_or(LinkLost::Moved)
        })
    }

    /// Changes something with the leader of this number, or with any. A write that is on its way may arrive even if
    /// nobody waits for it any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        run: Option<u64>,
        change: impl FnOnce(&mut SimulatedState) -> T + Send + 'static,
    ) -> Result<T, LinkLost> {
        let link = self.clone();
        let written = tokio::spawn(async move {
            link.pass(|faults| faults.holds_writes).await?;
            let answer = link.store.change(|state| {
                let is_right = run.is_none_or(|run| run == state.run());
                is_right.then(|| change(state)).ok_or(LinkLost::Moved)
            })?;
            if link.faults.borrow().loses_replies {
                return Err(LinkLost::NoReply);
            }
            Ok(answer)
        });
        written.await.unwrap_or(Err(LinkLost::NoReply))
    }

    /// Changes something at once, if the link is whole.
    pub(super) fn write_now(&self, change: impl FnOnce(&mut SimulatedState)) {
        if self.is_whole() {
            self.store.change(change);
        }
    }

    /// Returns true if the link has no fault.
    pub(super) fn is_whole(&self) -> bool {
        *self.faults.borrow() == Faults::default()
    }

    /// Tells of each change of the faults.
    pub(super) fn changes(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    /// Waits as long as the fault lasts.
    async fn pass(&self, holds: impl Fn(&Faults) -> bool) -> Result<(), LinkLost> {
        let mut faults = self.faults.subscribe();
        let passed = faults.wait_for(|faults| faults.is_cut || !holds(faults));
        match passed.await {
            Ok(faults) if !faults.is_cut => Ok(()),
            _ => Err(LinkLost::Cut),
        }
    }
}

#[cfg(test)]
impl SimulatedLink {
    /// Sets the faults.
    pub(super) fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }
}
