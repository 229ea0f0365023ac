//! Puts streams of another process into a shard.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::net::{Shutdown, shutdown};

use super::batch::{self, Entered, LeavingBatch, PortableHttp};
use crate::event::Position;
use crate::hub::Entering;
use crate::hub::log::JoinRequest;
use crate::net::DescriptorStream;
use crate::shard::connection::Connection;
use crate::shard::detached::Detached;
use crate::shard::returned::Returned;
use crate::shard::shard::Shard;
use crate::shard::slot::Portable;
use crate::tls::Secrets;
use crate::topic::Topic;

/// Takes the streams that another process sends, until it closes the socket.
pub(in crate::shard) async fn enter(
    shard: Rc<RefCell<Shard>>,
    socket: io::Result<UnixStream>,
    progress: Arc<Entering>,
) {
    if let Err(error) = take_all(&shard, socket, &progress).await {
        tracing::warn!(%error, "the other process sends no more streams");
    }
    progress.open_sockets.fetch_sub(1, Ordering::Release);
}

async fn take_all(
    shard: &RefCell<Shard>,
    socket: io::Result<UnixStream>,
    progress: &Entering,
) -> io::Result<()> {
    let mut stream = DescriptorStream::new(socket?)?;
    while let Some(message) = stream.receive().await? {
        let batch: LeavingBatch = batch::read(&message.bytes)?;
        if batch.connections.len() + batch.without_stream.len() != message.descriptors.len() {
            return Err(io::Error::other("a batch has another number of sockets"));
        }
        let mut refused = 0;
        let mut sockets = message.descriptors.into_iter();
        for (portable, socket) in batch.connections.into_iter().zip(sockets.by_ref()) {
            match shard.borrow_mut().put_in(&portable, socket) {
                Ok(()) => progress.taken.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    tracing::warn!(%error, "a stream of the other process is closed");
                    refused += 1;
                    progress.refused.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
        for (portable, socket) in batch.without_stream.into_iter().zip(sockets) {
            if let Some(connection) = portable.returned(socket) {
                shard.borrow_mut().connections.take_in(connection);
            } else {
                tracing::warn!(
                    "a connection of the other process is closed: its TLS secrets cannot be used"
                );
            }
        }
        let answer = batch::write(&Entered { refused })?;
        stream.send(&answer, &[]).await?;
    }
    Ok(())
}

impl PortableHttp {
    /// `None` if its TLS secrets cannot be used.
    fn returned(self, fd: OwnedFd) -> Option<Returned> {
        let secrets = match &self.secrets {
            None => None,
            Some(secrets) => Some(Secrets::from_portable(secrets)?),
        };
        Some(Returned {
            fd,
            secrets,
            origin: self.origin,
            is_taken_in: true,
            received: Bytes::copy_from_slice(&self.received.0),
        })
    }
}

impl Shard {
    /// Continues a stream of another process.
    ///
    /// # Errors
    /// If there is no room for it. Its socket is shut down.
    fn put_in(&mut self, portable: &Portable, socket: OwnedFd) -> io::Result<()> {
        let refuse = |socket: &OwnedFd, reason| {
            // The client notices it at once. The other process has a copy of the descriptor until it has the answer.
            let _ = shutdown(socket, Shutdown::Both);
            Err(io::Error::other(reason))
        };
        self.served
            .prepare(&self.connections, || self.deliveries.under_way());
        let hub = Arc::clone(&self.connections.shared.hub);
        let Some(id) = self.connections.table.vacancy() else {
            return refuse(&socket, "the table is full");
        };
        let user = portable.user.as_deref().filter(|_| !portable.is_test());
        let since_s = portable.since_s();
        let Ok(place) = hub.adopt(user, portable.session.as_deref(), id, since_s) else {
            return refuse(&socket, "the directory is full");
        };
        let handle = place.user();
        let opening = portable.opening(handle);
        let request = Request {
            user: user.map(Into::into),
            session: portable.session.clone(),
            topics: opening.topics.clone(),
            last_event_id: portable.replayed.clone().or_else(|| {
                // It began in the other process when that one had stopped to follow this log.
                let is_behind = portable.position() < hub.log().head();
                is_behind.then(|| hub.log().kept_up_to(portable.position()).to_string())
            }),
            settled: portable.position(),
        };
        let detached = Detached::from(socket).of(portable.origin(), false);
        let key = self.connections.insert(place, detached, opening, false)?;
        let (now, pong_limit) = (self.connections.now(), self.connections.pong_limit);
        let slot = self.connections.table.at_mut(key);
        let is_continued = slot.continue_from(portable, now).is_some();
        if let Some(sent) = portable.sent {
            self.connections.outbox.checksums.open(key, sent);
        }
        if let Some(age) = portable.ping_ticks {
            slot.carrier.note_ping(pong_limit.time(now.minus(age)));
        }
        if let Some(backlog) = slot.carrier.backlog() {
            let pinned = backlog.pinned() as u64;
            let metrics = self.connections.metrics();
            metrics.backlog_bytes.add(pinned);
            metrics.backlogged.add(1);
        }
        let mut connection = Connection::new(&mut self.connections, key);
        if !is_continued {
            connection.close(crate::metrics::DisconnectReason::Error);
            return Err(io::Error::other("its TLS secrets cannot be used"));
        }
        connection.arm();
        connection.watch_output();
        request.catch_up(connection);
        if portable.is_late {
            hub.limit_late(user, handle, id);
        }
        Ok(())
    }
}

/// A client that was catching up, as it joins this process's log.
struct Request {
    user: Option<String>,
    session: Option<String>,
    topics: Box<[Topic]>,
    last_event_id: Option<String>,
    /// The session changes up to here were carried out.
    settled: Position,
}

impl Request {
    /// Continues the client's replay, if it has one.
    fn catch_up(self, connection: Connection<'_>) {
        let (Some(user), Some(last_event_id)) = (&self.user, &self.last_event_id) else {
            return;
        };
        let log = connection.all.shared.hub.log();
        let joined = log.join(&JoinRequest {
            user,
            session: self.session.as_deref(),
            topics: &self.topics,
            last_event_id: Some(last_event_id),
            settled: self.settled,
        });
        let there = match joined.gap {
            Some(gap) => connection.send_gap(joined.id, last_event_id, gap),
            None => Ok(connection),
        };
        let Ok(mut connection) = there else {
            return;
        };
        match joined.replay {
            Some(replay) => connection.start_catch_up(replay),
            None => connection.slot_mut().finish_catch_up(joined.position),
        }
    }
}
