//! The closing handshake of a WebSocket (RFC 6455 §7), after which the socket is closed. Either side may begin:
//!
//! ```text
//! client: its close frame, or an error ──end_with_answer──▶ close frame, FIN ──wait_for_close──▶ the client's FIN
//! server: the end of the stream ──end──▶ close frame ──wait_for_close──▶ the client's close frame
//! ```
//!
//! The client has `stall_timeout` for its part.

use rustix::net::{Shutdown, shutdown};

use super::connection::{Connection, Gone};
use super::connections::Connections;
use super::wheel::{TICKS_PER_S, Tick};
use crate::metrics::DisconnectReason;
use crate::wire::websocket::{CloseCode, Closing};

/// How long a drain waits for the answer to a close frame: a round trip of a slow network.
const DRAIN_CLOSE_TICKS: u32 = 32;
const _: () = assert!(DRAIN_CLOSE_TICKS as u64 == TICKS_PER_S);

impl Connection<'_> {
    /// Ends a WebSocket whose client has broken the protocol.
    pub(super) fn fail(self, code: CloseCode) -> Gone {
        let closing = Closing::Failed(code);
        closing.push_close(&mut self.all.answers);
        let now = self.all.now();
        self.end_with_answer(closing, now)
    }

    /// Ends a WebSocket whose client has closed it or broken its protocol: sends the answers that are still to be sent,
    /// a close frame as the last. What the client sends from now on is discarded.
    #[cold]
    pub(super) fn end_with_answer(mut self, closing: Closing, now: Tick) -> Gone {
        let reason = match closing {
            Closing::ByClient(_) => DisconnectReason::ClientClosed,
            Closing::Failed(_) => DisconnectReason::Protocol,
        };
        self.all.leave_directory(self.key);
        self.slot_mut().carrier.set_deaf();
        let mut answer = std::mem::take(&mut self.all.answers);
        let sent = self.send(now, |outbox, carrier, now| {
            outbox.send_last(carrier, &mut answer, now)
        });
        if let Ok(mut this) = sent {
            this.keep_answers(answer);
            this.ended(reason, now);
        }
        Gone
    }

    /// Waits for the client: for its close frame, or, after an end of its own, for the end of its side. It has
    /// `stall_timeout` for that.
    pub(super) fn wait_for_close(mut self) {
        let carrier = &self.slot().carrier;
        if carrier.is_deaf() {
            let _ = shutdown(carrier.fd(), Shutdown::Write);
        }
        self.arm();
        // What came while bytes waited was not read.
        self.read_later();
    }

    /// Closes a client that has not answered the end of its stream in time.
    #[cold]
    pub(super) fn check_answer_to_end(self, now: Tick) -> Result<Self, Gone> {
        let carrier = &self.slot().carrier;
        let has_waited = now.since(carrier.last_write()) >= self.all.close_ticks();
        if has_waited && !carrier.is_backlogged() {
            return Err(self.close(DisconnectReason::Stalled));
        }
        Ok(self)
    }

    /// When a client that has received its close frame is closed in any case. `None` if its transport has no closing
    /// handshake.
    #[cold]
    pub(super) fn answer_to_end_due(&self) -> Option<Tick> {
        let carrier = &self.slot().carrier;
        let answers = carrier.wire().has_closing_handshake();
        answers.then(|| carrier.last_write().plus(self.all.close_ticks()))
    }
}

impl Connections {
    /// How long a client may take to answer a close frame. A drain does not wait for clients that are gone.
    fn close_ticks(&self) -> u32 {
        if self.exits.is_draining {
            DRAIN_CLOSE_TICKS.min(self.stall_ticks)
        } else {
            self.stall_ticks
        }
    }
}
