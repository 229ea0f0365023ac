//! A guard for one stream, and all its transitions.
//!
//! ```text
//! held ──end──▶ ending ──last byte out──▶ back to HTTP, or closed
//!   └──close──▶ gone          └──close──▶ gone
//! ```

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::connections::Connections;
use super::outbox::{Flushed, Outbox, Sent, Then, reason_of};
use super::parcel::Parcel;
use super::poller::Readiness;
use super::reader;
use super::slot::{Carrier, Slot, Stream};
use super::wheel::Tick;
use crate::hub::ConnectionId;
use crate::hub::directory::UserHandle;
use crate::hub::log::Entry;
use crate::metrics::{DisconnectReason, ShardMetrics};
use crate::tls::Alert;
use crate::wire::{End, Piece, Signal, Wire};

/// A guard for a stream that exists. A method that may close the stream consumes the guard, and returns it if
/// the stream still exists.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub(super) all: &'a mut Connections,
    pub(super) key: u32,
}

/// The stream is closed, or its end has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The result of passing a parcel to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It was sent, or is in the client's backlog.
    Sent,
    /// The client was closed, because the parcel could not be sent.
    Gone,
    /// The slot is empty.
    Empty,
    /// The client does not take this parcel.
    Refused,
}

impl Connections {
    /// The connection in a slot, if there is one.
    #[inline]
    pub(super) fn get(&mut self, key: u32) -> Option<Connection<'_>> {
        self.table.get(key)?;
        Some(Connection::new(self, key))
    }

    /// The connection with this id, if it still exists. Another one may use its slot by now.
    #[inline]
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<Connection<'_>> {
        let key = self.table.find(id)?;
        Some(Connection::new(self, key))
    }

    /// Handles the events of the sockets. Returns true if there may be more.
    pub(super) fn poll(&mut self, happened: &mut Vec<Readiness>) -> bool {
        let more = self.poller.poll(happened);
        for readiness in happened.drain(..) {
            if let Some(connection) = self.find(readiness.connection) {
                connection.take_readiness(readiness);
            }
        }
        more
    }

    /// Sends a parcel to the client in a slot, if the client takes it. A broadcast does this for every
    /// slot, so it looks at each slot once.
    #[inline]
    pub(super) fn pass_parcel(
        &mut self,
        key: u32,
        takes: impl FnOnce(&Stream) -> bool,
        parcel: &Parcel<'_>,
        now: Tick,
    ) -> Passed {
        let Some(slot) = self.table.get_mut(key) else {
            return Passed::Empty;
        };
        if !takes(&slot.stream) {
            return Passed::Refused;
        }
        match self.outbox.send_parcel(key, &mut slot.carrier, parcel, now) {
            Ok(Then::Nothing) => Passed::Sent,
            sent => match Connection::new(self, key).after(sent) {
                Ok(_) => Passed::Sent,
                Err(Gone) => Passed::Gone,
            },
        }
    }
}

impl<'a> Connection<'a> {
    /// The connection in a slot, which must be occupied.
    #[inline]
    pub(super) fn new(all: &'a mut Connections, key: u32) -> Self {
        debug_assert!(all.table.get(key).is_some(), "an empty slot");
        Self { all, key }
    }

    pub(super) fn id(&self) -> ConnectionId {
        ConnectionId::new(
            self.all.number(),
            self.key,
            self.slot().carrier.generation(),
        )
    }

    #[inline]
    pub(super) fn slot(&self) -> &Slot {
        self.all.table.at(self.key)
    }

    #[inline]
    pub(super) fn slot_mut(&mut self) -> &mut Slot {
        self.all.table.at_mut(self.key)
    }

    pub(super) fn metrics(&self) -> &ShardMetrics {
        self.all.metrics()
    }

    /// Sends a parcel. `now` is the walk's clock reading.
    pub(super) fn send_parcel(self, parcel: &Parcel<'_>, now: Tick) -> Result<Self, Gone> {
        let key = self.key;
        self.send(now, |outbox, carrier, now| {
            outbox.send_parcel(key, carrier, parcel, now)
        })
    }

    /// Sends a piece that many clients receive.
    #[inline]
    pub(super) fn send_shared<'p>(
        self,
        piece: impl FnOnce(Wire) -> Piece<'p>,
        now: Tick,
    ) -> Result<Self, Gone> {
        let key = self.key;
        self.send(now, |outbox, carrier, now| {
            outbox.send_shared(key, carrier, piece, now)
        })
    }

    /// Sends signals that only this client receives, in one send.
    pub(super) fn send_signals<'p>(
        self,
        signals: impl IntoIterator<Item = Signal<'p>>,
    ) -> Result<Self, Gone> {
        let (key, now) = (self.key, self.all.now());
        self.send(now, |outbox, carrier, now| {
            outbox.send_signals(key, carrier, signals, now)
        })
    }

    /// Sends entries that the client has missed, in one send.
    pub(super) fn send_missed(self, missed: &[Arc<Entry>]) -> Result<Self, Gone> {
        let (key, now) = (self.key, self.all.now());
        self.send(now, |outbox, carrier, now| {
            outbox.send_missed(key, carrier, missed, now)
        })
    }

    /// Sends the head of the response, and the first signal if it is there already.
    pub(super) fn send_head(
        self,
        mut head: Vec<u8>,
        first: Option<&Signal<'_>>,
    ) -> Result<Self, Gone> {
        let (key, now) = (self.key, self.all.now());
        self.send(now, |outbox, carrier, now| {
            carrier.wire().push_preamble(&mut head);
            if let Some(signal) = first {
                outbox.append(key, carrier, signal, &mut head);
            }
            outbox.send_copied(carrier, &head, now)
        })
    }

    #[inline]
    pub(super) fn send(
        self,
        now: Tick,
        send: impl FnOnce(&mut Outbox, &mut Carrier, Tick) -> Sent,
    ) -> Result<Self, Gone> {
        let Connections { outbox, table, .. } = &mut *self.all;
        match send(outbox, &mut table.at_mut(self.key).carrier, now) {
            Ok(Then::Nothing) => Ok(self),
            sent => self.after(sent),
        }
    }

    /// Completes a send: arms the timer, waits for the socket or closes the connection, if necessary.
    #[cold]
    pub(super) fn after(mut self, sent: Sent) -> Result<Self, Gone> {
        match sent {
            Ok(Then::Nothing) => {}
            Ok(Then::Arm) => {
                self.watch_output();
                self.arm();
            }
            Err(reason) => return Err(self.close(reason)),
        }
        Ok(self)
    }

    /// Waits until the socket takes more, if there is a backlog.
    pub(super) fn watch_output(&self) {
        let carrier = &self.slot().carrier;
        if carrier.is_backlogged()
            && let Err(error) = self.all.poller.repeat(carrier.fd().as_fd(), self.id())
        {
            tracing::warn!(%error, "a client's backlog is not sent on");
        }
    }

    /// Arms its timer for the earliest thing that is due.
    pub(super) fn arm(&mut self) {
        self.arm_at(self.all.now());
    }

    /// The same, with an earlier clock reading.
    pub(super) fn arm_at(&mut self, now: Tick) {
        if let Some(due) = self.due(now) {
            self.all.arm(self.key, due);
        }
    }

    /// Handles the events of its socket.
    pub(super) fn take_readiness(self, readiness: Readiness) {
        if readiness.failed {
            self.close_failed();
            return;
        }
        let there = if readiness.hung_up {
            self.take_last_input()
        } else if readiness.readable {
            self.take_input()
        } else {
            Ok(self)
        };
        if readiness.writable
            && let Ok(connection) = there
        {
            connection.flush();
        }
    }

    /// Sends the backlog, now that the socket takes more.
    fn flush(mut self) {
        let carrier = &self.slot().carrier;
        if !carrier.is_backlogged() {
            return;
        }
        let is_finishing = carrier.is_finishing();
        let closes = is_finishing
            && !carrier.wire().has_closing_handshake()
            && (self.all.exits.is_draining || !carrier.keeps_alive());
        let now = self.all.now();
        let Connections { outbox, table, .. } = &mut *self.all;
        match outbox.flush(&mut table.at_mut(self.key).carrier, closes, now) {
            Ok(Flushed::Some) => {}
            Ok(Flushed::Nothing) if is_finishing => self.finish(),
            Ok(Flushed::Nothing) => {
                // While bytes waited, the timer stood for the stall and not for a heartbeat, and a WebSocket client's
                // input was not read.
                self.read_after_backlog();
                self.arm();
                self.resume_catch_up();
            }
            Err(reason) => {
                self.close(reason);
            }
        }
    }

    /// Queues the client's next piece, if it is catching up.
    pub(super) fn resume_catch_up(&mut self) {
        if self.slot_mut().replay_mut().is_some() {
            let id = self.id();
            self.all.catch_up_later(id);
        }
    }

    /// Sends the end of the stream, after the entry that caused it, if there is one. Once everything is
    /// sent, the connection goes back to HTTP or is closed.
    pub(super) fn end(mut self, end: End, entry: Option<&Entry>) {
        if self.slot().stream.is_ended() {
            return;
        }
        let reason = reason_for(end);
        // A client whose input was discarded may wait for a response. Closing the connection tells it that
        // none will come. The connection is also closed if the client has to reconnect (to a new server, or
        // with new keys), or if there is no room for another handshake. The end and the FIN then leave
        // together.
        let exits = &self.all.exits;
        let is_over = exits.is_draining || reason == DisconnectReason::Drained;
        let has_place = exits.returned.len() < exits.room;
        let carrier = &mut self.slot_mut().carrier;
        if is_over || carrier.is_worn() || !has_place || carrier.discarded_bytes() > 0 {
            carrier.set_closes();
        }
        self.all.leave_directory(self.key);
        let (key, now) = (self.key, self.all.now());
        let sent = self.send(now, |outbox, carrier, now| {
            outbox.send_end(key, carrier, end, entry, now)
        });
        let Ok(this) = sent else {
            return;
        };
        this.ended(reason, now);
    }

    /// The last bytes are sent, or wait. As soon as all of them are out, the connection is finished.
    pub(super) fn ended(mut self, reason: DisconnectReason, now: Tick) {
        let slot = self.slot_mut();
        slot.end();
        let waits = slot
            .carrier
            .backlog_mut()
            .map(|backlog| backlog.start_timeout(now))
            .is_some();
        let disconnects = &self.metrics().disconnects;
        disconnects.at(reason as usize).increment();
        if waits {
            // The rest has to be sent within `stall_timeout`, even if it makes slow progress.
            self.arm();
        } else {
            self.finish();
        }
    }

    /// Ends a stream so that its client reconnects. Returns it if its end was already written.
    pub(super) fn end_drained(self) -> Result<Self, Gone> {
        if self.slot().stream.is_ended() {
            return Ok(self);
        }
        let retry_ms = self.all.draw_retry_ms();
        self.end(End::GoingAway { retry_ms }, None);
        Err(Gone)
    }

    /// Ends a stream whose client has missed entries that this node does not know.
    pub(super) fn end_resync(self) {
        if self.slot().stream.user() == UserHandle::NONE {
            // A test stream misses nothing.
            return;
        }
        let retry_ms = self.all.draw_retry_ms();
        self.end(End::Resync { retry_ms }, None);
    }

    /// Lets a client that is catching up receive everything before the change that ended its session, and
    /// then its end. Returns the connection if the client is not catching up.
    pub(super) fn end_caught_up(mut self, change: &Arc<Entry>) -> Option<Self> {
        if !self.slot_mut().leave(change) {
            return Some(self);
        }
        // The replay may have been waiting for this change.
        self.resume_catch_up();
        None
    }

    /// Gives a connection whose last byte is sent back to HTTP, or closes it. Before closing, reads all its
    /// input. With unread input, the kernel would reset the connection, and the client could lose the end.
    pub(super) fn finish(mut self) {
        if self.slot().carrier.wire().has_closing_handshake() {
            self.wait_for_close();
            return;
        }
        if self.slot().carrier.keeps_alive() {
            if !self.all.exits.is_draining {
                if let Some(slot) = self.all.remove(self.key) {
                    self.all.give_back(slot);
                }
                return;
            }
            self.say_goodbye(Alert::CloseNotify);
        }
        // This releases the last bytes, which were held back to leave together with the FIN.
        let _ = shutdown(self.slot().carrier.fd(), Shutdown::Write);
        reader::drain(&mut self.slot_mut().carrier);
        self.close(DisconnectReason::ClientClosed);
    }

    /// Closes a connection for which epoll has reported an error.
    pub(super) fn close_failed(self) -> Gone {
        let error = rustix::net::sockopt::socket_error(self.slot().carrier.fd());
        let errno = error.ok().and_then(Result::err).unwrap_or(Errno::CONNRESET);
        self.close(reason_of(errno))
    }

    /// Closes a connection and gives up its place. Counts the reason, unless its end was counted already.
    pub(super) fn close(self, reason: DisconnectReason) -> Gone {
        self.close_with(reason, Alert::CloseNotify)
    }

    /// The same. A client with TLS receives this alert.
    pub(super) fn close_with(mut self, reason: DisconnectReason, alert: Alert) -> Gone {
        let carrier = &mut self.slot_mut().carrier;
        let has_goodbye = carrier.is_tls() && !carrier.is_finishing();
        if has_goodbye || carrier.wire().has_closing_handshake() {
            // With unread input, the kernel would reset the connection, and the last bytes could be lost.
            reader::drain(carrier);
        }
        if has_goodbye {
            self.say_goodbye(alert);
        }
        if !self.slot().stream.is_ended() {
            let disconnects = &self.metrics().disconnects;
            disconnects.at(reason as usize).increment();
        }
        self.all.remove(self.key);
        Gone
    }

    fn say_goodbye(&mut self, alert: Alert) {
        let Connections { outbox, table, .. } = &mut *self.all;
        outbox.say_goodbye(&mut table.at_mut(self.key).carrier, alert);
    }
}

/// The reason that the metrics count an end under.
fn reason_for(end: End) -> DisconnectReason {
    match end {
        End::LoggedOut => DisconnectReason::LoggedOut,
        End::Expired => DisconnectReason::Expired,
        End::Evicted | End::Disconnected => DisconnectReason::Evicted,
        End::GoingAway { .. } => DisconnectReason::Drained,
        End::Resync { .. } => DisconnectReason::Resync,
    }
}
