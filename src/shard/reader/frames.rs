//! The reader for WebSocket clients: pings are answered, pongs are noted, messages are counted and ignored.
//!
//! The beginning of an incomplete frame, or record, stays in the kernel if it came with little else. After much else it
//! is kept here: the kernel would keep the whole segment for it, and may have no room for the rest. The beginning of a
//! frame in a record is kept here as well, because a record is opened only once.

#![allow(clippy::indexing_slicing)] // the kernel gives at most what it was asked for

use super::input::Input;
use super::intake;
use crate::metrics::DisconnectReason;
use crate::shard::slot::{Carrier, Inbound};
use crate::shard::wheel::Tick;
use crate::wire::websocket::{CloseCode, Closing, MAX_UNTAKEN_BYTES};

/// Most bytes looked at in one turn, without TLS. A client that sends without end takes its turns like all others.
const MAX_BYTES: usize = 4 * 1024;
/// The same with TLS: more than the longest record (RFC 8446 §5.2), which is opened as a whole.
const MAX_RECORDS_BYTES: usize = 17 * 1024;
const _: () = assert!(MAX_UNTAKEN_BYTES < MAX_BYTES, "each turn takes something");

/// What a client sends, as far as it is read in one turn.
struct Reading<'a> {
    inbound: Inbound,
    now: Tick,
    /// The pong for the last ping, or the answer to the client's end.
    answer: &'a mut Vec<u8>,
    has_pong: bool,
    closing: Option<Closing>,
}

/// Reads the bytes that have arrived.
pub(super) fn read(carrier: &mut Carrier, now: Tick, answer: &mut Vec<u8>) -> Input {
    if carrier.is_backlogged() {
        // Answers would wait behind the backlog, and a client that reads nothing could send pings without end.
        // The input is read when the backlog is gone.
        return Input::Nothing;
    }
    if carrier.is_deaf() {
        return intake::discard(carrier, MAX_RECORDS_BYTES);
    }
    let mut reading = Reading {
        inbound: carrier.take_inbound(),
        now,
        answer,
        has_pong: false,
        closing: None,
    };
    let input = if carrier.is_tls() {
        reading.read_records(carrier)
    } else {
        reading.read_bytes(carrier)
    };
    let Reading {
        inbound,
        answer,
        has_pong,
        closing,
        ..
    } = reading;
    if has_pong {
        carrier.note_pong();
    }
    carrier.put_inbound(inbound, now);
    match closing {
        None if carrier.is_finishing() => answer.clear(),
        None => {}
        // The server has closed first, so this is the answer.
        Some(_) if carrier.is_finishing() => {
            answer.clear();
            return Input::Close(DisconnectReason::ClientClosed);
        }
        Some(closing) => return Input::End(closing),
    }
    input
}

impl Reading<'_> {
    fn read_bytes(&mut self, carrier: &Carrier) -> Input {
        let mut scratch = [0; MAX_BYTES];
        let keeps_rest = self.keeps_rest();
        let bytes = match intake::peek(carrier, &mut scratch) {
            Ok(bytes) => bytes,
            Err(input) => return input,
        };
        let seen = bytes.len();
        let is_full = seen == MAX_BYTES;
        self.inbound.set_has_much(is_full);
        let taken = if keeps_rest || is_full {
            self.take_with_torn(bytes);
            seen
        } else {
            self.take(bytes)
        };
        if let Err(input) = intake::skip(carrier, &mut scratch, taken) {
            return input;
        }
        more_if(is_full)
    }

    #[allow(clippy::large_stack_arrays)] // a record is opened as a whole
    fn read_records(&mut self, carrier: &mut Carrier) -> Input {
        let mut scratch = [0; MAX_RECORDS_BYTES];
        let keeps_rest = self.keeps_rest();
        let seen = match intake::peek(carrier, &mut scratch) {
            Ok(bytes) => bytes.len(),
            Err(input) => return input,
        };
        let mut joined = self.inbound.take_record();
        let held = joined.len();
        let records = if held == 0 {
            &mut scratch[..seen]
        } else {
            joined.extend_from_slice(&scratch[..seen]);
            joined.as_mut_slice()
        };
        // One look is the budget.
        let opened = intake::open(carrier, records, usize::MAX, |content| {
            self.take_with_torn(content);
        });
        let opened = match opened {
            Ok(opened) => opened,
            Err(input) => return input,
        };
        let is_full = seen == MAX_RECORDS_BYTES;
        self.inbound.set_has_much(is_full);
        let taken = if keeps_rest || is_full || held > 0 {
            self.inbound.keep_record(&records[opened..]);
            seen
        } else {
            opened
        };
        if let Err(input) = intake::skip(carrier, &mut scratch, taken) {
            return input;
        }
        more_if(is_full)
    }

    /// Returns true if an incomplete frame or record must not stay in the kernel.
    fn keeps_rest(&mut self) -> bool {
        self.inbound.set_has_much(false) || self.inbound.has_torn()
    }

    /// Takes everything, after the beginning of a frame that was kept earlier.
    fn take_with_torn(&mut self, content: &[u8]) {
        let mut torn = self.inbound.take_torn();
        let (all, taken);
        if torn.is_empty() {
            taken = self.take(content);
            all = content;
        } else {
            torn.extend_from_slice(content);
            taken = self.take(&torn);
            all = &torn;
        }
        let rest = all.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            self.inbound.keep_torn(rest);
        }
    }

    /// Takes complete frames, and the available parts of messages. Returns the number of bytes.
    fn take(&mut self, bytes: &[u8]) -> usize {
        if self.closing.is_some() {
            return bytes.len();
        }
        let received = self.inbound.reader.read(bytes);
        self.has_pong |= received.has_pong;
        self.closing = received.closing;
        if received.ping.is_some() || received.closing.is_some() {
            // Only the last ping needs an answer (RFC 6455 §5.5.3).
            self.answer.clear();
            received.push_answer(self.answer);
        }
        let taken = received.taken;
        let fits = self.inbound.count_message(received.message_bytes, self.now);
        if !fits && self.closing.is_none() {
            let closing = Closing::Failed(CloseCode::TooManyMessages);
            self.answer.clear();
            closing.push_close(self.answer);
            self.closing = Some(closing);
        }
        taken
    }
}

/// If everything was seen, later bytes make the socket ready again.
fn more_if(is_full: bool) -> Input {
    if is_full { Input::More } else { Input::Nothing }
}
