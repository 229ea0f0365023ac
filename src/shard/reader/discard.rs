//! The reader for SSE clients. They have nothing to send during a stream, so their input is discarded; too much
//! input ends the connection.

use super::input::Input;
use super::intake;
use crate::shard::returned::MAX_DISCARDED_BYTES;
use crate::shard::slot::Carrier;

/// Takes what has arrived, and keeps only its length.
pub(super) fn read(carrier: &mut Carrier) -> Input {
    let (taken, input) = intake::take(carrier, budget(carrier), |_| {});
    note(carrier, taken);
    input
}

/// Discards all input of a connection that is about to be closed.
pub(in crate::shard) fn drain(carrier: &mut Carrier) {
    let (taken, _) = intake::take_as_it_came(carrier, budget(carrier), |_| {});
    note(carrier, taken);
}

fn budget(carrier: &Carrier) -> usize {
    MAX_DISCARDED_BYTES
        .saturating_sub(carrier.discarded_bytes())
        .into()
}

fn note(carrier: &mut Carrier, taken: usize) {
    carrier.note_discarded(u16::try_from(taken).unwrap_or(u16::MAX));
}
