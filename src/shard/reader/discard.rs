//! The reader of an EventSource, which sends nothing that a stream needs: its input is discarded, and
//! too much of it ends the connection.

use super::input::Input;
use super::intake;
use crate::shard::returned::MAX_DISCARDED_BYTES;
use crate::shard::slot::Carrier;

/// Takes what has come, and keeps nothing but its length.
pub(super) fn read(carrier: &mut Carrier) -> Input {
    let (taken, input) = intake::take(carrier, budget(carrier), |_| {});
    note(carrier, taken);
    input
}

/// Reads the input of a connection empty that is about to be closed, without a look at it.
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
