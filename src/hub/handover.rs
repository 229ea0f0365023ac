//! Handing the hub over to another process of the server, which continues it.
//!
//! The dispatcher makes a *cut* between two batches: a copy of everything up to there. All that it dispatches after
//! the cut passes through the tap, in order, so the other process can follow. Meanwhile this process keeps serving.
//!
//! It can also *hold* all shards between two batches, so that all of them have carried out the same entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::admission::{Place, StreamPermits};
use super::connection::ConnectionId;
use super::directory::UserHandle;
use super::hub::Hub;
use super::inbox::{Command, Inbox};
use super::rejection::Rejection;
use super::tap::{Cut, DispatcherRequest, Hold, MAX_TAPPED};
use crate::event::Position;

impl Hub {
    /// Asks the dispatcher for a cut. `None` if the dispatcher has ended.
    pub(crate) async fn cut(&self) -> Option<Cut> {
        let (reply, cut) = oneshot::channel();
        self.tap.ask(DispatcherRequest::Cut(reply));
        cut.await.ok()
    }

    /// Holds all shards: each carries out what was dispatched before, and then nothing until [`Hub::release`]. Returns
    /// the position up to which all have carried everything out. `None` if a shard has ended.
    pub(crate) async fn hold(&self) -> Option<Position> {
        let (reply, hold) = oneshot::channel();
        self.tap.ask(DispatcherRequest::Hold(reply));
        let Hold { position, held } = hold.await.ok()?;
        for held in held {
            held.await.ok()?;
        }
        Some(position)
    }

    /// Lets the shards go on.
    pub(crate) fn release(&self) {
        let number = self.tap.holds.load(Ordering::Acquire);
        self.inboxes()
            .iter()
            .for_each(|inbox| inbox.order_release(number));
    }

    /// Notes that the other process has everything up to a position; `None` if there is no other process any more.
    pub(crate) fn note_forwarded(&self, position: Option<Position>) {
        self.tap.forwarded.send_replace(position);
    }

    /// Waits until the process to which streams are moving, if there is one, has everything that is in the log now. So
    /// what was confirmed to a publisher is not lost with this process.
    pub(super) async fn until_forwarded(&self) {
        if self.tap.forwarded.borrow().is_none() {
            return;
        }
        let head = self.log.head();
        let mut forwarded = self.tap.forwarded.subscribe();
        // The sender lives as long as this.
        let _ = forwarded
            .wait_for(|position| position.is_none_or(|position| position >= head))
            .await;
    }

    /// Does what the dispatcher was asked for. For the dispatcher, between two batches.
    pub(super) fn pause_between_batches(&self) {
        // Nobody dispatches meanwhile.
        let mut dispatcher = self.dispatcher.lock();
        let requests = std::mem::take(&mut *self.tap.requests.lock());
        for request in requests {
            let reply = match request {
                DispatcherRequest::Cut(reply) => reply,
                DispatcherRequest::Hold(reply) => {
                    if reply.send(self.begin_hold()).is_err() {
                        // Nobody waits any more.
                        self.release();
                    }
                    continue;
                }
            };
            let (tap, tapped) = mpsc::channel(MAX_TAPPED);
            let mut standings = Vec::new();
            self.directory
                .standings(|user, standing| standings.push((user.to_string(), standing.clone())));
            let cut = Cut {
                log: self.log.dispatched_part(self.clock.now_ms()),
                standings,
                tapped,
            };
            if reply.send(cut).is_ok() {
                dispatcher.tap = Some(tap);
            }
        }
    }

    fn begin_hold(&self) -> Hold {
        let number = self.tap.holds.fetch_add(1, Ordering::AcqRel) + 1;
        let hold = |inbox: &Inbox| {
            let (reply, held) = oneshot::channel();
            inbox.push(Command::Hold { number, reply });
            held
        };
        Hold {
            position: self.log.dispatched_position(),
            held: self.inboxes().iter().map(hold).collect(),
        }
    }

    /// Waits until all shards have carried out everything that is in their inboxes now. `false` if a shard has ended.
    pub(crate) async fn fence(&self) -> bool {
        for inbox in self.inboxes() {
            if !inbox.ask(|reply| Command::Ping { reply }).await {
                return false;
            }
        }
        true
    }

    /// Lets connections leave the shards, or not.
    pub(crate) fn let_leave(&self, may_leave: bool) {
        self.inboxes()
            .iter()
            .for_each(|inbox| inbox.let_leave(may_leave));
    }

    /// Makes a place for a connection that another process has admitted, whatever the limits. It began at `since_s`, in
    /// Unix seconds.
    ///
    /// # Errors
    /// [`Rejection::Full`] if the directory is full.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        user: Option<&str>,
        session: Option<&str>,
        connection: ConnectionId,
        since_s: u32,
    ) -> Result<Place, Rejection> {
        let stream = self.streams.acquire(usize::MAX).ok_or(Rejection::Full)?;
        let (user, test_stream) = match user {
            Some(user) => {
                let adopted = self.directory.adopt(user, session, connection, since_s);
                self.register().adopted(user);
                (adopted.ok_or(Rejection::Full)?, None)
            }
            None => (UserHandle::NONE, self.test_streams.acquire(usize::MAX)),
        };
        let permits = StreamPermits {
            stream,
            test_stream,
        };
        Ok(self.place(user, connection, permits))
    }

    /// Applies the limits to a stream that was [adopted](Hub::adopt). The other process has admitted it when other streams
    /// had left already, so that it did not count them. Ends the stream, or the user's oldest ones, if there are too many.
    pub(crate) fn limit_late(&self, name: Option<&str>, user: UserHandle, adopted: ConnectionId) {
        let limits = self.limits();
        let has_too_many = match name {
            Some(_) => false,
            None => self.test_streams.used() > limits.test_streams as u64,
        };
        if has_too_many || self.streams.used() > limits.connections as u64 {
            return self.end_evicted(adopted);
        }
        if let Some(name) = name {
            let ended = self.directory.end_excess(user, adopted, limits.per_user);
            self.release_places(name, ended.len());
            for connection in ended {
                self.end_evicted(connection);
            }
        }
    }

    /// Lets the shards accept connections, or not. Those that are not accepted wait in the listeners' queues.
    pub(crate) fn let_accept(&self, may_accept: bool) {
        let order = if may_accept {
            Inbox::order_open
        } else {
            Inbox::order_pause
        };
        self.inboxes().iter().for_each(order);
    }
}
