//! The old process's part of an upgrade.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{self, Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::error::HandoverError;
use super::peer::Peer;
use super::protocol::{FORMAT, HandedOver, ToNew, ToOld};
use super::seam::{CHUNK, CHUNK_BYTES, Seam};
use super::start::{self, Program};
use crate::admin::{self, Admin, PassedConnection};
use crate::base64_bytes::Base64Bytes;
use crate::clock::millis;
use crate::event::Position;
use crate::hub::directory::Standing;
use crate::hub::engine::{Answer, Continued, EngineHealth};
use crate::hub::log::DispatchedLog;
use crate::hub::{Hub, Leaving, Move, SlotPart};
use crate::net::MAX_DESCRIPTORS;
use crate::server::control::{SocketFile, UpgradeError, UpgradeProgress, UpgradeReport, Upgrader};
use crate::server::inherited::CopiedEndpoint;
use crate::server::mute::Mute;
use crate::shard::Passages;
use crate::shutdown::{Shutdown, Waiter};
use crate::version;

/// Time for which streams leave before entries have their turn again. Twice as long after each time that was too short
/// for any of them, since the threads of many shards may share few cores.
const LEAVE_FOR: Duration = Duration::from_millis(10);
/// Longest time for which streams leave at once.
const LEAVE_AT_MOST: Duration = Duration::from_secs(1);
/// Longest time for which the shards are held, and all clients wait. If the new process hangs then, the old one goes on.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the new process, to read or to answer, while clients wait: new ones, or publishers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for what may be much work: to carry out events for many streams, or to open the store.
const WORK_TIMEOUT: Duration = Duration::from_secs(15);
/// How often entries are forwarded before a hold. What comes meanwhile is forwarded next, and is less each time, unless
/// publishers are faster than the new process.
const FORWARDS_AHEAD: usize = 4;
/// Longest wait for admin requests that are under way. New requests wait as long.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// Most sockets per shard of the process that has more shards, if the numbers of shards differ.
const MOST_SOCKETS_PER_SHARD: usize = 4;
/// Time between two looks at admin requests.
const ADMIN_POLL: Duration = Duration::from_millis(1);

/// The running process, as it hands everything over to another.
pub(in crate::server) struct OldProcess {
    pub(in crate::server) hub: Arc<Hub>,
    pub(in crate::server) admin: Arc<Admin>,
    pub(in crate::server) copies: Arc<[CopiedEndpoint]>,
    pub(in crate::server) passages: Passages,
    pub(in crate::server) shutdown: Shutdown,
    pub(in crate::server) program: Program,
    /// Longest time for a hand-over.
    pub(in crate::server) timeout: Duration,
    pub(in crate::server) supervisor: Mute,
    /// The control socket of this process.
    pub(in crate::server) control: Option<SocketFile>,
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
        let engine = self.hub.engine();
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
        let clock = &self.hub.clock;
        let begun_ms = clock.now_ms();
        let (child, stream) = start::start(binary.unwrap_or_else(|| self.program.path()))?;
        // In this order, so that the new process has ended when this one goes on.
        let mut attempt = Attempt {
            old: self,
            continued,
            passed: Vec::new(),
            is_done: false,
        };
        let child = NewProcess(Some(child));
        let mut hand_over = HandOver {
            old: self,
            continued,
            peer: Peer::new(stream)?,
            leaving: Vec::new(),
            arriving: None,
            passed: &mut attempt.passed,
            progress,
            successor: None,
            their_shards: 0,
            leave_for: LEAVE_FOR,
            patience: self.timeout,
        };
        let mut stopping = self.shutdown.waiter();
        let mut done = tokio::select! {
            biased;
            done = clock.within(self.timeout, hand_over.run()) => {
                done.unwrap_or(Err(HandoverError::Late))
            }
            () = stopping.draining() => Err(HandoverError::Stopping),
        };
        if done.is_ok() {
            let took_ms = clock.now_ms() - begun_ms;
            done = hand_over.commit(took_ms, &mut stopping).await;
            if done.is_err() {
                // The new process may have called itself the main one, whose end is the end of the service.
                self.supervisor.stay_main();
            }
        }
        let mut report = hand_over.report();
        if let Err(error) = done {
            hand_over.take_back();
            self.hub.let_leave(false);
            child.end().await;
            drop(attempt);
            return Err(error);
        }
        child.keep();
        attempt.is_done = true;
        continued.leave();
        self.admin.leave();
        report.took_ms = clock.now_ms() - begun_ms;
        Ok(report)
    }

    /// Serves again, after an upgrade that has failed. From here on, only this process writes to any client.
    fn go_on(&self, continued: &dyn Continued, passed: Vec<PassedConnection>) {
        self.supervisor.set(false);
        self.set_passed_on(false);
        self.hub.let_leave(false);
        self.hub.release();
        self.hub.note_forwarded(None);
        continued.resume();
        self.admin.keep();
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

/// An upgrade that has begun. Unless it is done when this is dropped, the old process goes on.
struct Attempt<'a> {
    old: &'a OldProcess,
    continued: &'a dyn Continued,
    /// Admin connections that were passed on. Both processes have them.
    passed: Vec<PassedConnection>,
    is_done: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let passed = std::mem::take(&mut self.passed);
            self.old.go_on(self.continued, passed);
        }
    }
}

/// The new process. It is ended when dropped, unless it is [kept](NewProcess::keep).
struct NewProcess(Option<Child>);

impl NewProcess {
    /// Ends it, and waits until it has ended: it may have thousands of sockets.
    async fn end(mut self) {
        if let Some(mut child) = self.0.take() {
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
        self.0 = None;
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A hand-over in progress.
struct HandOver<'a> {
    old: &'a OldProcess,
    continued: &'a dyn Continued,
    peer: Peer,
    /// One for each socket over which streams move.
    leaving: Vec<Arc<Leaving>>,
    /// Admin connections that are to be passed on.
    arriving: Option<mpsc::UnboundedReceiver<PassedConnection>>,
    passed: &'a mut Vec<PassedConnection>,
    progress: UpgradeProgress,
    /// The new process's id and version, once it is ready.
    successor: Option<(u32, String)>,
    /// The number of its shards.
    their_shards: usize,
    /// Time for which streams leave next.
    leave_for: Duration,
    /// Longest wait for the new process.
    patience: Duration,
}

/// The number of sockets over which the streams of one shard leave. They go round the other process's shards, which get
/// an equal share each, or nearly.
fn sockets_of_each(ours: usize, theirs: usize) -> usize {
    let (ours, theirs) = (ours.max(1), theirs.max(1));
    let most = MOST_SOCKETS_PER_SHARD * ours.max(theirs) / ours;
    let is_even = |each: &usize| (each * ours).is_multiple_of(theirs);
    (1..=most).find(is_even).unwrap_or(most)
}

impl HandOver<'_> {
    async fn run(&mut self) -> Result<(), HandoverError> {
        self.begin().await?;
        let streams = self.share_sockets().await?;
        let hub = Arc::clone(&self.old.hub);
        let cut = hub.cut().await.ok_or(HandoverError::ShardsEnded)?;
        let mut seam = Seam::new(cut.tapped, cut.log.newest.0, hub.log().max_bytes());
        let copied = self.copy(cut.log, cut.standings);
        seam.while_waiting(copied).await??;
        // Clients wait from here on.
        self.patience = ANSWER_TIMEOUT;
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
        self.tell(&ToNew::InStep, &[]).await?;
        self.move_streams(&mut seam).await?;
        self.pass_admin_connections(&mut seam).await?;
        self.finish(&mut seam).await
    }

    fn report(&self) -> UpgradeReport {
        let sum = |of: fn(&Leaving) -> u64| self.leaving.iter().map(|it| of(it)).sum();
        let longest_ms = self.leaving.iter();
        let longest_ms = longest_ms.map(|it| it.longest_ms.load(Ordering::Relaxed));
        let (pid, version) = self.successor.clone().unwrap_or_default();
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
            control: self.old.control,
        };
        self.tell(&begin, &[]).await?;
        for endpoint in &*self.old.copies {
            for chunk in endpoint.sockets.chunks(MAX_DESCRIPTORS) {
                let descriptors: Vec<_> = chunk.iter().map(AsFd::as_fd).collect();
                let message = ToNew::Listeners(endpoint.name.clone());
                self.tell(&message, &descriptors).await?;
            }
        }
        self.tell(&ToNew::Start, &[]).await?;
        match self.answer().await? {
            ToOld::Ready {
                pid,
                version,
                shards,
            } => {
                self.progress.report(format!(
                    "process {pid}, version {version}, is ready to take over"
                ));
                self.successor = Some((pid, version));
                self.their_shards = shards;
                Ok(())
            }
            ToOld::Declined { reason } => Err(HandoverError::Declined(reason)),
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
            self.tell(&ToNew::Streams, &descriptors).await?;
        }
        Ok(ours)
    }

    /// Sends a message. The new process may be slow to read.
    async fn tell(
        &mut self,
        message: &ToNew,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        let clock = &self.old.hub.clock;
        let told = self.peer.send(message, descriptors);
        let told = clock.within(self.patience, told).await;
        told.unwrap_or(Err(HandoverError::Hangs(self.patience)))
    }

    async fn answer(&mut self) -> Result<ToOld, HandoverError> {
        let clock = &self.old.hub.clock;
        let answer = clock.within(self.patience, self.peer.receive()).await;
        let answer = answer.unwrap_or(Err(HandoverError::Hangs(self.patience)));
        Ok(answer?.0)
    }

    async fn expect(&mut self, is_it: fn(&ToOld) -> bool) -> Result<(), HandoverError> {
        let answer = self.answer().await?;
        if is_it(&answer) {
            Ok(())
        } else {
            Err(HandoverError::Unexpected)
        }
    }

    /// Copies what is known at the cut.
    async fn copy(
        &mut self,
        log: DispatchedLog,
        standings: Vec<(String, Standing)>,
    ) -> Result<(), HandoverError> {
        let beginning = self.continued.describe_log(&log);
        self.tell(&ToNew::Log(beginning), &[]).await?;
        // Each is described when its turn has come: all of them together would be a second history.
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
            self.tell(&ToNew::Retained(chunk), &[]).await?;
        }
        let mut standings = standings.into_iter().peekable();
        while standings.peek().is_some() {
            let chunk = standings.by_ref().take(CHUNK).collect();
            self.tell(&ToNew::Standings(chunk), &[]).await?;
        }
        self.tell(&ToNew::Restore, &[]).await?;
        self.expect(|answer| matches!(answer, ToOld::Restored))
            .await
    }

    /// Lets all streams leave, and forwards entries in between.
    async fn move_streams(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        while !self.move_some(seam).await? {}
        Ok(())
    }

    /// Brings both processes to the same entry, and lets streams leave there for a moment. Returns whether every
    /// stream has left. Meanwhile, entries wait.
    async fn move_some(&mut self, seam: &mut Seam) -> Result<bool, HandoverError> {
        let hub = Arc::clone(&self.old.hub);
        let before = self.report().connections;
        let time = self.leave_for;
        self.forward_ahead(seam).await?;
        // The shards finish what they are doing, however long that takes.
        let held = seam.while_waiting(hub.hold()).await?;
        let position = held.ok_or(HandoverError::ShardsEnded)?;
        let moved = self.move_at(position, time, seam);
        let moved = hub.clock.within(HOLD_TIMEOUT, moved).await;
        let is_empty = moved.unwrap_or(Err(HandoverError::Hangs(HOLD_TIMEOUT)))?;
        self.leave_for = if is_empty || self.report().connections > before {
            LEAVE_FOR
        } else {
            LEAVE_AT_MOST.min(2 * time)
        };
        Ok(is_empty)
    }

    /// Does that at a position at which all shards are held, and releases them.
    async fn move_at(
        &mut self,
        position: Position,
        time: Duration,
        seam: &mut Seam,
    ) -> Result<bool, HandoverError> {
        let hub = Arc::clone(&self.old.hub);
        self.forward(position, seam).await?;
        for leaving in &self.leaving {
            leaving.position.store(position.0, Ordering::Release);
            leaving.is_empty.send_replace(false);
        }
        hub.let_leave(true);
        let has_left = self.all(|leaving| &leaving.is_empty, true);
        let is_empty = hub.clock.within(time, has_left).await.is_some();
        hub.let_leave(false);
        self.all(|leaving| &leaving.is_under_way, false).await;
        hub.release();
        let has_failed = |leaving: &Arc<Leaving>| leaving.has_failed.load(Ordering::Acquire);
        if self.leaving.iter().any(has_failed) {
            return Err(HandoverError::Streams);
        }
        Ok(is_empty)
    }

    /// Waits until a flag of every shard has this value.
    async fn all(&self, flag: fn(&Leaving) -> &watch::Sender<bool>, value: bool) {
        for leaving in &self.leaving {
            let mut flag = flag(leaving).subscribe();
            // The sender is in `leaving`.
            let _ = flag.wait_for(|now| *now == value).await;
        }
    }

    /// Forwards what is there while the shards go on, so that little is left while they are held. The streams that are
    /// still here get it here.
    async fn forward_ahead(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        for _ in 0..FORWARDS_AHEAD {
            let Some(newest) = seam.newest() else {
                return Ok(());
            };
            // It may have many streams by now.
            self.patience = WORK_TIMEOUT;
            let forwarded = self.forward(newest, seam).await;
            self.patience = ANSWER_TIMEOUT;
            forwarded?;
        }
        Ok(())
    }

    /// Forwards all entries up to a position that the dispatcher has passed. When this returns, the new process's shards
    /// have carried them out.
    async fn forward(&mut self, to: Position, seam: &mut Seam) -> Result<(), HandoverError> {
        while seam.position < to {
            let entries = seam.take(to).await?;
            let entries = entries.iter();
            let entries = entries.map(|it| self.continued.describe(it)).collect();
            self.tell(&ToNew::Entries(entries), &[]).await?;
            let taken = self.expect(|answer| matches!(answer, ToOld::Taken));
            seam.while_waiting(taken).await??;
            self.old.hub.note_forwarded(Some(seam.position));
        }
        Ok(())
    }

    /// Passes on the admin connections, each as soon as it is between two requests.
    async fn pass_admin_connections(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        let admin = Arc::clone(&self.old.admin);
        self.arriving = Some(admin.pass_on());
        let end_ms = self.old.hub.clock.now_ms() + millis(ADMIN_GRACE);
        loop {
            let is_late = self.old.hub.clock.now_ms() >= end_ms;
            if is_late && let Some(arriving) = &mut self.arriving {
                // Before the last look, so that none is lost between that and the end.
                arriving.close();
            }
            while let Some(connection) = self.next_arriving() {
                let message = ToNew::AdminConnection {
                    received: Base64Bytes::from(&*connection.received),
                };
                // If the new process does not get it, this one has it.
                let copy = connection.socket.try_clone()?;
                self.passed.push(connection);
                self.tell(&message, &[copy.as_fd()]).await?;
            }
            let is_empty = self
                .arriving
                .as_ref()
                .is_none_or(mpsc::UnboundedReceiver::is_empty);
            if admin.unfinished() == 0 && is_empty {
                return Ok(());
            }
            if is_late {
                tracing::warn!(
                    requests = admin.unfinished(),
                    "admin requests take too long for the upgrade; the old process answers them and closes their \
                     connections"
                );
                return Ok(());
            }
            self.move_some(seam).await?;
            self.old.hub.clock.sleep(ADMIN_POLL).await;
        }
    }

    fn next_arriving(&mut self) -> Option<PassedConnection> {
        self.arriving.as_mut()?.try_recv().ok()
    }

    /// Keeps the admin connections that were about to be passed on.
    fn take_back(&mut self) {
        if let Some(arriving) = &mut self.arriving {
            arriving.close();
        }
        while let Some(connection) = self.next_arriving() {
            self.passed.push(connection);
        }
    }

    /// Stops the engine, and forwards the rest and what the engine knows. The new process accepts then.
    async fn finish(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        let connections = self.report().connections;
        self.progress
            .report(format!("{connections} connections have moved"));
        // The new process notifies the supervisor from now on.
        self.old.supervisor.set(true);
        let state = seam.while_waiting(self.continued.stop()).await??;
        let hub = Arc::clone(&self.old.hub);
        seam.while_waiting(hub.log().all_dispatched()).await?;
        self.move_streams(seam).await?;
        self.tell(&ToNew::Finish(state), &[]).await?;
        self.patience = WORK_TIMEOUT;
        let taken_over = self
            .expect(|answer| matches!(answer, ToOld::TakenOver))
            .await;
        self.patience = ANSWER_TIMEOUT;
        taken_over
    }

    /// Lets the new process accept. Fails only if that process has ended, or hangs. If this one is to end meanwhile, it
    /// does not wait for the other.
    async fn commit(&mut self, took_ms: u64, stopping: &mut Waiter) -> Result<(), HandoverError> {
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
        self.tell(&ToNew::Commit(moved), &[]).await?;
        tokio::select! {
            biased;
            serving = self.expect(|answer| matches!(answer, ToOld::Serving)) => serving?,
            () = stopping.draining() => {}
        }
        // From now on, streams that begin here follow at once: nothing more happens here.
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
            // Equal shares would take too many.
            (7, 9, 5),
            // A process has at least one.
            (3, 0, 1),
        ] {
            assert_eq!(sockets_of_each(ours, theirs), each, "{ours} to {theirs}");
        }
    }
}
