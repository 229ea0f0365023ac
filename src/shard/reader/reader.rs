//! Each transport has a reader: a function that takes what has arrived at a carrier, bounds it, keeps its state in
//! the carrier, and returns the consequence for the stream.

use super::discard;
use super::input::Input;
use crate::shard::slot::Carrier;
use crate::wire::Wire;

/// Reads what a client has sent.
pub(in crate::shard) fn read(carrier: &mut Carrier) -> Input {
    if carrier.is_finishing() && carrier.keeps_alive() {
        // It may be the next request, which HTTP reads once the last byte is sent.
        return Input::Nothing;
    }
    match carrier.wire() {
        Wire::SseChunked | Wire::SseRaw => discard::read(carrier),
    }
}
