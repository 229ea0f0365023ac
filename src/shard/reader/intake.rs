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

/// Takes complete records from the socket, and leaves an incomplete one there. Its rest makes the socket ready
/// again.
fn take_records(
    carrier: &mut Carrier,
    budget: usize,
    mut content: impl FnMut(&[u8]),
) -> (usize, Input) {
    let mut scratch = [0; MAX_TAKEN_BYTES];
    let mut taken = 0;
    let close = |errno| Input::Close(reason_of(errno));
    loop {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let seen = match recv(carrier.fd(), &mut scratch, flags) {
            Ok((_, 0)) => return (taken, Input::Close(DisconnectReason::ClientClosed)),
            Ok((_, seen)) => seen,
            Err(Errno::AGAIN) => return (taken, Input::Nothing),
            Err(Errno::INTR) => continue,
            Err(errno) => return (taken, close(errno)),
        };
        let Some(secrets) = carrier.secrets_mut() else {
            return (taken, Input::Nothing);
        };
        let seen = &mut scratch[..seen];
        let (opened, input) = secrets.receive(seen, budget - taken, &mut content);
        if opened == 0 || input != TlsInput::Nothing {
            return (taken, meaning(input));
        }
        taken += opened;
        // The bytes were peeked at above.
        if let Err(errno) = recv(carrier.fd(), &mut scratch[..opened], RecvFlags::DONTWAIT) {
            return (taken, close(errno));
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
