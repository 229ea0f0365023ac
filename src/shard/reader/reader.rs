//! Each transport has a reader: a function that takes what has arrived at a carrier, bounds it, keeps its state in
//! the carrier, and returns the consequence for the stream.

use super::input::Input;
use super::{discard, frames};
use crate::shard::slot::Carrier;
use crate::shard::wheel::Tick;
use crate::wire::Wire;

/// Reads what a client has sent. What has to be answered at once is put into `answer`, which is empty; it remains
/// empty if the connection is closed without an answer.
pub(in crate::shard) fn read(carrier: &mut Carrier, now: Tick, answer: &mut Vec<u8>) -> Input {
    if carrier.is_finishing() && carrier.keeps_alive() {
        // It may be the next request, which HTTP reads once the last byte is sent.
        return Input::Nothing;
    }
    let input = match carrier.wire() {
        Wire::SseChunked | Wire::SseRaw | Wire::SseGzip => discard::read(carrier),
        Wire::WebSocket => frames::read(carrier, now, answer),
    };
    if !input.has_answer() {
        // The next answer is another client's.
        answer.clear();
    }
    input
}
