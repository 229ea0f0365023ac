//! What clients send. A stream needs no input, so it is discarded, unless it ends the connection.
//!
//! Nothing is kept of it. What a client with TLS sends is opened first; a record that has come only
//! in part waits in the kernel.

#![allow(clippy::indexing_slicing)] // the kernel gives at most what it was asked for

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::outbox::reason_of;
use super::returned::MAX_DISCARDED_BYTES;
use super::slot::Slot;
use crate::metrics::DisconnectReason;
use crate::tls::{Alert, TlsInput};

/// What a client's input means for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing.
    Nothing,
    /// The client's end, or too much, or what no client sends: it is closed.
    Close(DisconnectReason),
    /// The client broke TLS: it is closed after this alert.
    Break(Alert),
    /// The client has new keys, which a stream cannot follow: it has to come back.
    Return,
}

/// Takes what a client has sent.
pub(super) fn read(slot: &mut Slot) -> Input {
    if slot.is_ending() && slot.keeps_alive() {
        // It may be the next request: HTTP reads it when the last byte is out.
        Input::Nothing
    } else if slot.is_tls() && !slot.is_ending() {
        match open(slot) {
            Ok(TlsInput::Nothing) => Input::Nothing,
            Ok(TlsInput::Close) => Input::Close(DisconnectReason::ClientClosed),
            Ok(TlsInput::Failure | TlsInput::TooMuch) => Input::Close(DisconnectReason::Error),
            Ok(TlsInput::Invalid(alert)) => Input::Break(alert),
            Ok(TlsInput::KeyUpdate) => Input::Return,
            Err(errno) => Input::Close(reason_of(errno)),
        }
    } else {
        drain(slot).map_or(Input::Nothing, Input::Close)
    }
}

/// Reads a client's input empty; a reason to close it, where there is one.
pub(super) fn drain(slot: &mut Slot) -> Option<DisconnectReason> {
    let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
    loop {
        match recv(&slot.fd, &mut scratch, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Some(DisconnectReason::ClientClosed),
            Ok((_, read)) => {
                let read = u16::try_from(read).unwrap_or(u16::MAX);
                slot.discarded_bytes = slot.discarded_bytes.saturating_add(read);
                if slot.discarded_bytes > MAX_DISCARDED_BYTES {
                    return Some(DisconnectReason::Error);
                }
            }
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => {}
            Err(errno) => return Some(reason_of(errno)),
        }
    }
}

/// Takes whole records from the socket and leaves what has come of the next one there: the rest
/// of it makes the socket ready again.
fn open(slot: &mut Slot) -> Result<TlsInput, Errno> {
    let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
    loop {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let seen = match recv(&slot.fd, &mut scratch, flags) {
            Ok((_, 0)) => return Ok(TlsInput::Close),
            Ok((_, seen)) => seen,
            Err(Errno::AGAIN) => return Ok(TlsInput::Nothing),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        let budget = usize::from(MAX_DISCARDED_BYTES - slot.discarded_bytes);
        let Some(secrets) = slot.secrets_mut() else {
            return Ok(TlsInput::Nothing);
        };
        let (taken, input) = secrets.receive(&mut scratch[..seen], budget);
        if taken == 0 || input != TlsInput::Nothing {
            return Ok(input);
        }
        slot.discarded_bytes += u16::try_from(taken).unwrap_or(MAX_DISCARDED_BYTES);
        // It was there a moment ago.
        recv(&slot.fd, &mut scratch[..taken], RecvFlags::DONTWAIT)?;
    }
}

#[cfg(test)]
mod tests;
