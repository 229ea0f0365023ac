//! A hand-over, step by step, as the old process does it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::error::HandoverError;
use super::protocol::{FORMAT, HandedOver, ToNew, ToOld};
use super::seam::{CHUNK, CHUNK_BYTES, Seam};
use super::successor::Successor;
use crate::admin::{self, Admin, PassedConnection};
use crate::hub::directory::Standing;
use crate::hub::engine::Continued;
use crate::hub::log::DispatchedLog;
use crate::hub::{Hub, Leaving, Move, SlotPart};
use crate::net::MAX_DESCRIPTORS;
use crate::public::Public;
use crate::server::control::{NamedSocket, UpgradeProgress, UpgradeReport};
use crate::server::inherited::CopiedEndpoint;
use crate::server::mute::Mute;
use crate::shard::Passages;
use crate::shutdown::{Shutdown, Waiter};
use crate::tls::Tls;
use crate::version;

/// Time for which streams leave before entries are forwarded again. Twice as long after each time that was too short
/// for any of them, since the threads of many shards may share few cores.
pub(super) const LEAVE_FOR: Duration = Duration::from_millis(10);
/// Longest wait for the new process, to read or to answer, while clients wait: new ones, or publishers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for what may be much work: to carry out events for many streams, or to open the store.
pub(super) const WORK_TIMEOUT: Duration = Duration::from_secs(15);
/// Most sockets per shard of the process that has more shards, if the numbers of shards differ.
const MOST_SOCKETS_PER_SHARD: usize = 4;
/// Most sockets for one shard: a passage holds more than a hundred descriptors.
const MOST_SOCKETS: usize = 64;

/// What a running process hands over, and what it stops meanwhile.
pub(in crate::server) struct ProcessParts {
    pub(in crate::server) hub: Arc<Hub>,
    pub(in crate::server) admin: Arc<Admin>,
    pub(in crate::server) public: Arc<Public>,
    pub(in crate::server) tls: Option<Arc<Tls>>,
    pub(in crate::server) copies: Arc<[CopiedEndpoint]>,
    pub(in crate::server) passages: Passages,
    pub(in crate::server) shutdown: Shutdown,
    pub(in crate::server) supervisor: Mute,
    /// The control socket of this process.
    pub(in crate::server) control: Option<NamedSocket>,
}

/// A hand-over in progress.
pub(super) struct HandOver<'a> {
    pub(super) old: &'a ProcessParts,
    pub(super) continued: &'a dyn Continued,
    pub(super) successor: Successor,
    /// One for each socket over which streams move.
    pub(super) leaving: Vec<Arc<Leaving>>,
    /// Admin connections that are to be passed on.
    pub(super) arriving: Option<mpsc::UnboundedReceiver<PassedConnection>>,
    pub(super) passed: &'a mut Vec<PassedConnection>,
    pub(super) progress: UpgradeProgress,
    /// The new process's id and version, once it is ready.
    pub(super) ready: Option<(u32, String)>,
    /// The number of its shards.
    pub(super) their_shards: usize,
    /// Time for which streams leave next.
    pub(super) leave_for: Duration,
}

/// The number of sockets over which the streams of one shard leave. They go round the other process's shards, which get
/// an equal share each, or nearly.
fn sockets_of_each(ours: usize, theirs: usize) -> usize {
    let (ours, theirs) = (ours.max(1), theirs.max(1));
    let most = (MOST_SOCKETS_PER_SHARD * ours.max(theirs) / ours).min(MOST_SOCKETS);
    let is_even = |each: &usize| (each * ours).is_multiple_of(theirs);
    (1..=most).find(is_even).unwrap_or(most)
}

impl ProcessParts {
    /// Serves again, after an upgrade that has failed. From here on, only this process writes to any client.
    pub(super) fn go_on(&self, continued: &dyn Continued, passed: Vec<PassedConnection>) {
        self.supervisor.set(false);
        self.set_passed_on(false);
        self.hub.let_leave(false);
        self.hub.release();
        self.hub.note_forwarded(None);
        continued.resume();
        self.admin.keep();
        self.public.requests().answer();
        for connection in passed {
            if let Err(error) = admin::continue_connection(&self.admin, connection) {
                tracing::warn!(%error, "an admin connection is closed");
            }
        }
        self.hub.let_accept(true);
    }

    /// Whether the new process accepts from the listening sockets, now or soon. This one does not shut them down then,
    /// whenever it ends.
    fn set_passed_on(&self, is_passed_on: bool) {
        let sockets = self.copies.iter().flat_map(|endpoint| &endpoint.sockets);
        sockets.for_each(|copy| copy.set_passed_on(is_passed_on));
    }
}

impl<'a> HandOver<'a> {
    /// A hand-over to `successor`. Admin connections that are passed on are also put into `passed`.
    pub(super) fn new(
        old: &'a ProcessParts,
        continued: &'a dyn Continued,
        successor: Successor,
        passed: &'a mut Vec<PassedConnection>,
        progress: UpgradeProgress,
    ) -> Self {
        Self {
            old,
            continued,
            successor,
            leaving: Vec::new(),
            arriving: None,
            passed,
            progress,
            ready: None,
            their_shards: 0,
            leave_for: LEAVE_FOR,
        }
    }

    pub(super) async fn run(&mut self) -> Result<(), HandoverError> {
        self.begin().await?;
        let streams = self.share_sockets().await?;
        let hub = Arc::clone(&self.old.hub);
        let cut = hub.cut().await.ok_or(HandoverError::ShardsEnded)?;
        let mut seam = Seam::new(cut.tapped, cut.log.newest.0, hub.log().max_bytes());
        let copied = self.copy(cut.log, cut.standings);
        seam.while_waiting(copied).await??;
        // Clients wait from here on.
        self.successor.patience = ANSWER_TIMEOUT;
        hub.let_accept(false);
        let shards = self.old.passages.count();
        let of = u32::try_from(streams.len() / shards).unwrap_or(1);
        for (at, stream) in streams.into_iter().enumerate() {
            let number = u32::try_from(at / shards).unwrap_or(0);
            let leaving = Arc::new(Leaving {
                part: SlotPart { number, of },
                ..Leaving::default()
            });
            self.leaving.push(Arc::clone(&leaving));
            let passages = &self.old.passages;
            passages.order_move(at, stream, Move::Leave(leaving))?;
        }
        // From here on, publishers wait for their confirmations. What was confirmed before is forwarded now.
        hub.note_forwarded(Some(seam.position));
        seam.while_waiting(hub.log().all_dispatched()).await?;
        let position = seam.while_waiting(hub.hold()).await?;
        hub.release();
        let position = position.ok_or(HandoverError::ShardsEnded)?;
        self.forward(position, &mut seam).await?;
        self.successor.tell(&ToNew::InStep, &[]).await?;
        self.move_streams(&mut seam).await?;
        self.finish_requests(&mut seam).await?;
        self.finish(&mut seam).await
    }

    pub(super) fn report(&self) -> UpgradeReport {
        let sum = |of: fn(&Leaving) -> u64| self.leaving.iter().map(|it| of(it)).sum();
        let longest_ms = self.leaving.iter();
        let longest_ms = longest_ms.map(|it| it.longest_ms.load(Ordering::Relaxed));
        let (pid, version) = self.ready.clone().unwrap_or_default();
        UpgradeReport {
            pid,
            version,
            connections: sum(|it| it.moved.load(Ordering::Relaxed)),
            lost: sum(|it| it.lost.load(Ordering::Relaxed)),
            took_ms: 0,
            longest_pause_ms: longest_ms.max().unwrap_or(0),
        }
    }

    /// Passes the listeners on, and waits until the new process has started.
    async fn begin(&mut self) -> Result<(), HandoverError> {
        let begin = ToNew::Begin {
            format: FORMAT,
            version: version::full().clone(),
            connections: self.old.hub.streams().used(),
            history: self.continued.history().map(path::absolute).transpose()?,
            shared_log: self.continued.shared_log().map(ToOwned::to_owned),
            node: self.old.hub.engine().node().map(ToOwned::to_owned),
            control: self.old.control.as_ref().map(|it| it.file),
            ticket_keys: self.old.tls.as_ref().and_then(|tls| tls.ticket_keys()),
            fetched_keys: self.old.public.fetched_keys(),
        };
        self.successor.tell(&begin, &[]).await?;
        for endpoint in &*self.old.copies {
            for chunk in endpoint.sockets.chunks(MAX_DESCRIPTORS) {
                let descriptors: Vec<_> = chunk.iter().map(AsFd::as_fd).collect();
                let message = ToNew::Listeners(endpoint.name.clone());
                self.successor.tell(&message, &descriptors).await?;
            }
        }
        self.successor.tell(&ToNew::Start, &[]).await?;
        match self.successor.answer().await? {
            ToOld::Ready {
                pid,
                version,
                shards,
            } => {
                self.progress.report(format!(
                    "process {pid}, version {version}, is ready to take over"
                ));
                self.ready = Some((pid, version));
                self.their_shards = shards;
                Ok(())
            }
            _ => Err(HandoverError::Unexpected),
        }
    }

    /// Makes the sockets over which streams move, and passes the other process's ends on. Returns this one's.
    ///
    /// Not before the other process has started: descriptor tables of its shards' own would have copies.
    async fn share_sockets(&mut self) -> Result<Vec<UnixStream>, HandoverError> {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let shards = self.old.passages.count();
        for _ in 0..shards * sockets_of_each(shards, self.their_shards) {
            let (our, their) = UnixStream::pair()?;
            ours.push(our);
            theirs.push(their);
        }
        for chunk in theirs.chunks(MAX_DESCRIPTORS) {
            let descriptors: Vec<_> = chunk.iter().map(AsFd::as_fd).collect();
            self.successor.tell(&ToNew::Streams, &descriptors).await?;
        }
        Ok(ours)
    }

    /// Copies what is known at the cut.
    async fn copy(
        &mut self,
        log: DispatchedLog,
        standings: Vec<(String, Standing)>,
    ) -> Result<(), HandoverError> {
        let beginning = self.continued.describe_log(&log);
        let newest = log.newest.1;
        self.successor.tell(&ToNew::Log(beginning), &[]).await?;
        // Each is described just before it is sent: all of them together would be a second history.
        let continued = self.continued;
        let retained = log.entries.into_iter();
        let mut retained = retained
            .map(|(entry, left_ms)| continued.describe_retained(&entry, left_ms))
            .peekable();
        while retained.peek().is_some() {
            let mut bytes = 0;
            let mut chunk = Vec::new();
            while chunk.len() < CHUNK
                && bytes < CHUNK_BYTES
                && let Some(entry) = retained.next()
            {
                bytes += entry.record.len();
                chunk.push(entry);
            }
            self.successor.tell(&ToNew::Retained(chunk), &[]).await?;
        }
        let mut sources = self.continued.sources(newest).into_iter().peekable();
        while sources.peek().is_some() {
            let chunk = sources.by_ref().take(CHUNK).collect();
            self.successor.tell(&ToNew::Sources(chunk), &[]).await?;
        }
        let mut standings = standings.into_iter().peekable();
        while standings.peek().is_some() {
            let chunk = standings.by_ref().take(CHUNK).collect();
            self.successor.tell(&ToNew::Standings(chunk), &[]).await?;
        }
        self.successor.tell(&ToNew::Restore, &[]).await?;
        self.successor
            .expect(|answer| matches!(answer, ToOld::Restored))
            .await
    }

    /// Stops the engine, and forwards the rest and what the engine knows. The new process accepts then.
    async fn finish(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        let connections = self.report().connections;
        self.progress
            .report(format!("{connections} connections have moved"));
        let hub = Arc::clone(&self.old.hub);
        // The new process notifies the supervisor from now on.
        self.old.supervisor.set(true);
        let stopped = hub.clock.within(WORK_TIMEOUT, self.continued.stop());
        let state = seam.while_waiting(stopped).await?;
        let state = state.ok_or(HandoverError::StoreHangs(WORK_TIMEOUT))??;
        seam.while_waiting(hub.log().all_dispatched()).await?;
        self.move_streams(seam).await?;
        self.successor.tell(&ToNew::Finish(state), &[]).await?;
        self.successor.patience = WORK_TIMEOUT;
        let taken_over = self
            .successor
            .expect(|answer| matches!(answer, ToOld::TakenOver))
            .await;
        self.successor.patience = ANSWER_TIMEOUT;
        taken_over
    }

    /// Lets the new process accept. Fails only if that process has ended, or hangs. If this one is to end meanwhile, it
    /// does not wait for the other.
    pub(super) async fn commit(
        &mut self,
        took_ms: u64,
        stopping: &mut Waiter,
    ) -> Result<(), HandoverError> {
        if self.old.shutdown.is_draining() {
            return Err(HandoverError::Stopping);
        }
        let UpgradeReport {
            connections,
            lost,
            longest_pause_ms,
            ..
        } = self.report();
        let moved = HandedOver {
            connections,
            lost,
            took_ms,
            longest_pause_ms,
        };
        // Before the new process accepts: this one may be told to end at any moment.
        self.old.set_passed_on(true);
        self.successor.tell(&ToNew::Commit(moved), &[]).await?;
        tokio::select! {
            biased;
            serving = self.successor.expect(|answer| matches!(answer, ToOld::Serving)) => serving?,
            () = stopping.draining() => {}
        }
        // Connections follow as they are between two requests, and streams that begin here at once: nothing more happens
        // here.
        self.old.public.requests().pass_on();
        self.old.hub.let_leave(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_sockets_for_equal_shares() {
        for (ours, theirs, each) in [
            (1, 1, 1),
            (4, 4, 1),
            (2, 4, 2),
            (6, 2, 1),
            (2, 3, 3),
            (4, 3, 3),
            (1, 64, 64),
            (1, 512, 64),
            (512, 1, 1),
            // Equal shares would take too many.
            (7, 9, 5),
            // A process has at least one.
            (3, 0, 1),
        ] {
            assert_eq!(sockets_of_each(ours, theirs), each, "{ours} to {theirs}");
        }
    }
}
