//! Each transport has its reader: a function that takes what has come for a carrier, bounds it, keeps
//! what it needs of it in the carrier, and says what that means.

use super::discard;
use super::input::Input;
use crate::shard::slot::Carrier;
use crate::wire::Wire;

/// Takes what a client has sent.
pub(in crate::shard) fn read(carrier: &mut Carrier) -> Input {
    if carrier.is_finishing() && carrier.keeps_alive() {
        // It may be the next request: HTTP reads it when the last byte is out.
        return Input::Nothing;
    }
    match carrier.wire() {
        Wire::SseChunked | Wire::SseRaw => discard::read(carrier),
    }
}
