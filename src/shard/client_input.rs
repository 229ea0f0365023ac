//! The consequences of what a client sends during its stream: the answer to it, or the end of the stream.

use std::os::fd::AsFd;

use super::connection::{Connection, Gone};
use super::connections::Connections;
use super::reader::{self, Input};
use super::wheel::Tick;
use crate::metrics::DisconnectReason;

impl Connection<'_> {
    /// Reads what the client has sent.
    pub(super) fn take_input(mut self) -> Result<Self, Gone> {
        let now = self.all.now();
        let input = self.read(now);
        self.follow(input, now)
    }

    /// Takes what a client has sent before it closed its side, and closes the connection.
    pub(super) fn take_last_input(mut self) -> Result<Self, Gone> {
        let carrier = &self.slot().carrier;
        if !carrier.wire().has_closing_handshake() {
            return Err(self.close(DisconnectReason::ClientClosed));
        }
        // The last bytes may be a close frame, which is answered. What is not read now is read later.
        let is_backlogged = carrier.is_backlogged();
        let now = self.all.now();
        let input = self.read(now);
        let this = self.follow(input, now)?;
        if is_backlogged || input == Input::More {
            Ok(this)
        } else {
            Err(this.close(DisconnectReason::ClientClosed))
        }
    }

    fn read(&mut self, now: Tick) -> Input {
        let Connections { table, answers, .. } = &mut *self.all;
        reader::read(&mut table.at_mut(self.key).carrier, now, answers)
    }

    /// Does what a client's input leaves to be done.
    fn follow(self, input: Input, now: Tick) -> Result<Self, Gone> {
        match input {
            Input::Nothing => self.answer(now),
            Input::More => {
                self.read_later();
                self.answer(now)
            }
            Input::Close(reason) => Err(self.close(reason)),
            Input::End(closing) => Err(self.end_with_answer(closing, now)),
            Input::Break(alert) => Err(self.close_with(DisconnectReason::Error, alert)),
            Input::Return => Err(self.end_with_new_keys()),
        }
    }

    /// Ends the stream of a client that has new keys. What it sends from now on cannot be opened.
    #[cold]
    fn end_with_new_keys(mut self) -> Gone {
        self.slot_mut().carrier.set_deaf();
        // A stream that has ended already waits only for its client's close frame.
        if let Ok(this) = self.end_drained() {
            this.finish();
        }
        Gone
    }

    /// Sends the answer to what a client has sent, if it needs one.
    fn answer(mut self, now: Tick) -> Result<Self, Gone> {
        if self.all.answers.is_empty() {
            return Ok(self);
        }
        let answer = std::mem::take(&mut self.all.answers);
        let Connections { outbox, table, .. } = &mut *self.all;
        let carrier = &mut table.at_mut(self.key).carrier;
        // A client that is answered often gets its heartbeats all the same.
        let last_write = carrier.last_write();
        let sent = outbox.send_copied(carrier, &answer, now);
        carrier.note_write(last_write);
        self.keep_answers(answer);
        self.after(sent)
    }

    /// Keeps the memory for the next answer.
    pub(super) fn keep_answers(&mut self, mut answers: Vec<u8>) {
        answers.clear();
        self.all.answers = answers;
    }

    /// Reads on after the others had their turn. If the client has closed its side, the socket reports that again.
    pub(super) fn read_later(&self) {
        let fd = self.slot().carrier.fd();
        if let Err(error) = self.all.poller.repeat(fd.as_fd(), self.id()) {
            tracing::warn!(%error, "a client's input is not read on");
        }
    }

    /// Reads what a client has sent while it had a backlog, if that had to wait.
    pub(super) fn read_after_backlog(&mut self) {
        if !self.slot().carrier.wire().has_closing_handshake() {
            return;
        }
        // A ping that waited in the socket has been on its way only since now.
        let sent = self.all.pong_limit.time(self.all.now());
        let carrier = &mut self.slot_mut().carrier;
        if carrier.unanswered_ping().is_some() {
            carrier.note_pong();
            carrier.note_ping(sent);
        }
        self.read_later();
    }
}
