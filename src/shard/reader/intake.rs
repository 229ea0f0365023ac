//! Takes the bytes that have arrived from a client off its socket, for every reader.
//!
//! Nothing is stored here. TLS records are opened first; an incomplete record stays in the kernel.

#![allow(clippy::indexing_slicing)] // the kernel gives at most what it was asked for

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::input::Input;
use crate::metrics::DisconnectReason;
use crate::shard::outbox::reason_of;
use crate::shard::slot::Carrier;
use crate::tls::TlsInput;

/// Most bytes taken at once. A longer record is never complete here, so its client is closed for sending too much.
const MAX_TAKEN_BYTES: usize = 8 * 1024;

/// Takes what has arrived, and passes its `content` on piece by piece. Returns the number of bytes on the socket,
/// and their consequence so far. More than `budget` bytes close the connection.
pub(super) fn take(
    carrier: &mut Carrier,
    budget: usize,
    content: impl FnMut(&[u8]),
) -> (usize, Input) {
    // After the end of the stream, the content does not matter.
    if carrier.is_tls() && !carrier.is_finishing() {
        take_records(carrier, budget, content)
    } else {
        take_as_it_came(carrier, budget, content)
    }
}

/// The same without opening records.
pub(super) fn take_as_it_came(
    carrier: &Carrier,
    budget: usize,
    mut content: impl FnMut(&[u8]),
) -> (usize, Input) {
    let mut scratch = [0; MAX_TAKEN_BYTES];
    let mut taken = 0;
    let reason = loop {
        match recv(carrier.fd(), &mut scratch, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => break DisconnectReason::ClientClosed,
            Ok((_, read)) => {
                taken += read;
                if taken > budget {
                    break DisconnectReason::Error;
                }
                content(&scratch[..read]);
            }
            Err(Errno::AGAIN) => return (taken, Input::Nothing),
            Err(Errno::INTR) => {}
            Err(errno) => break reason_of(errno),
        }
    };
    (taken, Input::Close(reason))
}

/// Discards what has arrived, up to a number of bytes.
pub(super) fn discard(carrier: &Carrier, most: usize) -> Input {
    match take_as_it_came(carrier, most, |_| {}) {
        (taken, Input::Close(DisconnectReason::Error)) if taken > most => Input::More,
        (_, input) => input,
    }
}

/// Looks at what has arrived, and leaves it there.
pub(super) fn peek<'a>(carrier: &Carrier, scratch: &'a mut [u8]) -> Result<&'a mut [u8], Input> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    loop {
        match recv(carrier.fd(), &mut *scratch, flags) {
            Ok((_, 0)) => return Err(Input::Close(DisconnectReason::ClientClosed)),
            Ok((_, seen)) => return Ok(&mut scratch[..seen]),
            Err(Errno::AGAIN) => return Err(Input::Nothing),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Input::Close(reason_of(errno))),
        }
    }
}

/// Takes bytes that were peeked at.
pub(super) fn skip(carrier: &Carrier, scratch: &mut [u8], bytes: usize) -> Result<(), Input> {
    let mut left = bytes;
    while left > 0 {
        match recv(carrier.fd(), &mut scratch[..left], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Input::Close(DisconnectReason::ClientClosed)),
            Ok((_, taken)) => left -= taken,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Input::Close(reason_of(errno))),
        }
    }
    Ok(())
}

/// Opens the complete records at the start of `records`, and passes their `content` on. Returns the number of bytes.
pub(super) fn open(
    carrier: &mut Carrier,
    records: &mut [u8],
    budget: usize,
    content: impl FnMut(&[u8]),
) -> Result<usize, Input> {
    let Some(mut secrets) = carrier.secrets_mut() else {
        return Err(Input::Nothing);
    };
    match secrets.receive(records, budget, content) {
        (opened, TlsInput::Nothing) => Ok(opened),
        (_, input) => Err(meaning(input)),
    }
}

/// Takes complete records from the socket, and leaves an incomplete one there. Its rest makes the socket ready
/// again.
fn take_records(
    carrier: &mut Carrier,
    budget: usize,
    mut content: impl FnMut(&[u8]),
) -> (usize, Input) {
    let mut scratch = [0; MAX_TAKEN_BYTES];
    let mut taken = 0;
    loop {
        let opened = peek(carrier, &mut scratch)
            .and_then(|records| open(carrier, records, budget - taken, &mut content))
            .and_then(|opened| skip(carrier, &mut scratch, opened).map(|()| opened));
        match opened {
            Ok(0) => return (taken, Input::Nothing),
            Ok(opened) => taken += opened,
            Err(input) => return (taken, input),
        }
    }
}

fn meaning(input: TlsInput) -> Input {
    match input {
        TlsInput::Nothing => Input::Nothing,
        TlsInput::Close => Input::Close(DisconnectReason::ClientClosed),
        TlsInput::Failure | TlsInput::TooMuch => Input::Close(DisconnectReason::Error),
        TlsInput::Invalid(alert) => Input::Break(alert),
        TlsInput::KeyUpdate => Input::Return,
    }
}
