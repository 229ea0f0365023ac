//! Takes streams out of a shard and sends them to another process.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::net::{Shutdown, shutdown};

use super::batch::{self, Entered, LeavingBatch, PortableHttp};
use crate::base64_bytes::Base64Bytes;
use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::hub::log::Replayed;
use crate::hub::{ConnectionId, Leaving, SlotPart};
use crate::net::{DescriptorStream, MAX_DESCRIPTORS};
use crate::shard::backlog::Backlog;
use crate::shard::connections::Connections;
use crate::shard::detached::Detached;
use crate::shard::returned::Returned;
use crate::shard::shard::Shard;
use crate::shard::slot::{Named, Portable};
use crate::tls::Secrets;

/// Most connections of one batch: few, because the shard delivers nothing until the batch is confirmed.
const BATCH: usize = if cfg!(test) { 2 } else { 64 };
const _: () = assert!(BATCH <= MAX_DESCRIPTORS);
/// Unsent bytes at which a batch takes no more connections.
const BATCH_BYTES: usize = 4 << 20;

/// Streams that leave together.
#[derive(Debug, Default)]
struct TakenOut {
    batch: LeavingBatch,
    sockets: Vec<OwnedFd>,
    /// True if some streams cannot leave yet.
    is_more: bool,
}

/// Whether a stream can leave.
#[derive(Debug)]
enum Exit {
    Now(Box<Portable>, OwnedFd),
    /// It has more than the other process, which will have it, too, at the next hold.
    NotYet,
    /// It has ended, or is about to.
    Never,
}

/// Sends streams to another process, for as long as there are any and [`let_leave`](crate::hub::Hub::let_leave) allows
/// it. Streams that begin later follow. Ends when the other process is gone.
pub(in crate::shard) async fn leave(
    shard: Rc<RefCell<Shard>>,
    socket: io::Result<UnixStream>,
    progress: Arc<Leaving>,
) {
    if let Err(error) = send_all(&shard, socket, &progress).await {
        tracing::warn!(%error, "the other process takes no more streams");
    }
    progress.has_failed.store(true, Ordering::Release);
    progress.is_under_way.send_replace(false);
    progress.is_empty.send_replace(false);
}

async fn send_all(
    shard: &RefCell<Shard>,
    socket: io::Result<UnixStream>,
    progress: &Leaving,
) -> io::Result<()> {
    let mut stream = DescriptorStream::new(socket?)?;
    let (clock, mut may_leave) = {
        let shard = shard.borrow();
        let shared = shard.shared();
        let inbox = shared.hub.inbox(shard.number());
        (shared.clock.clone(), inbox.may_leave())
    };
    let mut waiting = VecDeque::new();
    let added = shard.borrow().connections.leaving.added();
    loop {
        // Said before the look, so that whoever stops the leaving and then waits sees one or the other.
        progress.is_under_way.send_replace(true);
        let may_go_on = *may_leave.borrow_and_update();
        let taken = if may_go_on {
            shard.borrow_mut().take_out(&mut waiting, progress)
        } else {
            TakenOut::default()
        };
        let TakenOut {
            batch,
            sockets,
            is_more,
        } = taken;
        if sockets.is_empty() {
            progress.is_empty.send_replace(may_go_on && !is_more);
            progress.is_under_way.send_replace(false);
            tokio::select! {
                changed = may_leave.changed() => if changed.is_err() {
                    return Ok(());
                },
                () = added.notified() => {}
                closed = stream.receive() => {
                    return match closed? {
                        None => Ok(()),
                        Some(_) => Err(io::Error::other("an answer that nobody waits for")),
                    };
                }
            }
            continue;
        }
        progress.is_empty.send_replace(false);
        let taken_ms = clock.now_ms();
        let streams = batch.connections.len() as u64;
        let sent = send(&mut stream, &batch, &sockets).await;
        let without_stream = batch.without_stream.len() as u64;
        shard
            .borrow()
            .connections
            .metrics()
            .handshakes
            .sub(without_stream);
        match sent {
            Ok(Entered { refused }) => {
                let pause_ms = clock.now_ms() - taken_ms;
                progress.longest_ms.fetch_max(pause_ms, Ordering::Relaxed);
                progress
                    .moved
                    .fetch_add(streams - refused, Ordering::Relaxed);
                progress.lost.fetch_add(refused, Ordering::Relaxed);
            }
            Err(error) => {
                // The other process may have written to them, so nobody knows what the clients have.
                for socket in &sockets {
                    let _ = shutdown(socket, Shutdown::Both);
                }
                progress.lost.fetch_add(streams, Ordering::Relaxed);
                return Err(error);
            }
        }
    }
}

async fn send(
    stream: &mut DescriptorStream,
    batch: &LeavingBatch,
    sockets: &[OwnedFd],
) -> io::Result<Entered> {
    let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    stream.send(&batch::write(batch)?, &descriptors).await?;
    let answer = stream.receive().await?;
    let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    batch::read(&answer.bytes)
}

impl Shard {
    /// Takes the next streams out. `waiting` has those that were found and not taken yet.
    fn take_out(&mut self, waiting: &mut VecDeque<ConnectionId>, progress: &Leaving) -> TakenOut {
        let served = Position(progress.position.load(Ordering::Acquire));
        let mut taken = TakenOut::default();
        let mut is_fresh = false;
        let mut unsent = 0;
        // In batches of their own, without a look at all slots for each.
        let looks_for_streams = !self.connections.leaving.has_any_without_stream();
        while looks_for_streams && taken.sockets.len() < BATCH && unsent < BATCH_BYTES {
            let Some(id) = waiting.pop_front() else {
                if is_fresh || !taken.sockets.is_empty() {
                    break;
                }
                // Those that were found before may have ended, and others begun.
                *waiting = self.connections.by_age(progress.part);
                is_fresh = true;
                continue;
            };
            unsent += self.connections.unsent(id);
            match self.connections.take_out(id, served) {
                Exit::Now(portable, socket) => {
                    taken.batch.connections.push(*portable);
                    taken.sockets.push(socket);
                }
                Exit::NotYet => taken.is_more = true,
                Exit::Never => {}
            }
        }
        if taken.sockets.is_empty() {
            for connection in self.connections.leaving.take(BATCH) {
                let (portable, socket) = connection.into_portable();
                taken.batch.without_stream.push(portable);
                taken.sockets.push(socket);
            }
        }
        taken
    }

    /// Passes a connection on that is between two requests; `received` is the beginning of the next one.
    pub(crate) fn pass_on(&mut self, detached: Detached, received: Bytes) {
        // It holds its place until the other process has it, so that this one does not end before.
        self.connections.metrics().handshakes.add(1);
        self.connections.leaving.add(Returned {
            fd: detached.fd,
            secrets: detached.secrets,
            origin: detached.origin,
            is_taken_in: false,
            received,
        });
    }
}

impl Returned {
    fn into_portable(self) -> (PortableHttp, OwnedFd) {
        let portable = PortableHttp {
            origin: self.origin,
            secrets: self.secrets.as_ref().map(Secrets::to_portable),
            received: Base64Bytes::from(&*self.received),
        };
        (portable, self.fd)
    }
}

impl Connections {
    /// The streams of a part that can leave, the oldest first: their order matters if a user's oldest is evicted.
    fn by_age(&self, part: SlotPart) -> VecDeque<ConnectionId> {
        let mut found: Vec<(u32, u32, ConnectionId)> = (0..self.table.end())
            .filter(|key| part.contains(*key))
            .filter_map(|key| {
                let slot = self.table.get(key)?;
                let can_leave = !slot.stream.is_ended() && !slot.stream.is_leaving();
                let (id, age) = (self.table.id(key)?, slot.stream.since_s());
                can_leave.then_some((age, slot.carrier.generation(), id))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The bytes in a stream's backlog.
    fn unsent(&self, id: ConnectionId) -> usize {
        let slot = self.table.find(id).map(|key| self.table.at(key));
        let backlog = slot.and_then(|slot| slot.carrier.backlog());
        backlog.map_or(0, Backlog::bytes)
    }

    /// Takes a stream out of all tables.
    fn take_out(&mut self, id: ConnectionId, served: Position) -> Exit {
        let hub = Arc::clone(&self.shared.hub);
        let Some(key) = self.table.find(id) else {
            return Exit::Never;
        };
        let slot = self.table.at_mut(key);
        if slot.stream.is_ended() || slot.stream.is_leaving() {
            return Exit::Never;
        }
        let replayed = match slot.replay_mut() {
            None => None,
            Some(replay) => match hub.log().replayed_up_to(replay, served) {
                Replayed::UpTo(id) => Some(id.to_string()),
                Replayed::Ahead => return Exit::NotYet,
                // It is about to be closed.
                Replayed::Lost => return Exit::Never,
            },
        };
        if slot.stream.is_ahead_of(served) {
            return Exit::NotYet;
        }
        let user = match slot.stream.user() {
            UserHandle::NONE => None,
            user => match hub.directory().name(user, id) {
                Some(name) => Some(name),
                // A stream that has left the directory waits for its end.
                None => return Exit::Never,
            },
        };
        let (slot, now) = (self.table.at(key), self.now());
        let wire = slot.carrier.wire();
        let named = Named {
            user,
            topics: self.table.topics(slot).map(ToString::to_string).collect(),
            served,
            ping_ticks: slot
                .carrier
                .unanswered_ping()
                .map(|sent| self.pong_limit.age_ticks(sent, now)),
            replayed,
            sent: wire.has_checksum().then(|| self.outbox.checksums.of(key)),
            is_late: self.leaving.is_late(id),
        };
        let portable = slot.describe(named, now);
        // The other process has the socket, too, so closing it would not end its events here.
        if let Err(error) = self.poller.remove(slot.carrier.fd().as_fd()) {
            tracing::warn!(%error, "a stream cannot leave");
            return Exit::Never;
        }
        if let Some(user) = &portable.user {
            hub.register().passes_on(user);
        }
        match self.remove(key) {
            Some(slot) => Exit::Now(Box::new(portable), slot.carrier.into_parts().0),
            None => Exit::Never,
        }
    }
}
