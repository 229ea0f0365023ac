//! What clients send. A stream needs no input, so it is discarded, unless it ends the connection.
//!
//! Nothing is kept of it. What a client with TLS sends is opened first; a record that has come only
//! in part waits in the kernel.

#![allow(clippy::indexing_slicing)] // the kernel gives at most what it was asked for

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::outbox::reason_of;
use super::returned::MAX_DISCARDED_BYTES;
use super::slot::Carrier;
use crate::metrics::DisconnectReason;
use crate::tls::{Alert, Verdict};

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
pub(super) fn read(carrier: &mut Carrier) -> Input {
    if carrier.is_finishing() && carrier.keeps_alive() {
        // It may be the next request: HTTP reads it when the last byte is out.
        Input::Nothing
    } else if carrier.is_tls() && !carrier.is_finishing() {
        match open(carrier) {
            Ok(Verdict::Stays) => Input::Nothing,
            Ok(Verdict::Leaves) => Input::Close(DisconnectReason::ClientClosed),
            Ok(Verdict::Fails | Verdict::Floods) => Input::Close(DisconnectReason::Error),
            Ok(Verdict::Breaks(alert)) => Input::Break(alert),
            Ok(Verdict::Renews) => Input::Return,
            Err(errno) => Input::Close(reason_of(errno)),
        }
    } else {
        drain(carrier).map_or(Input::Nothing, Input::Close)
    }
}

/// Reads a client's input empty; a reason to close it, where there is one.
pub(super) fn drain(carrier: &mut Carrier) -> Option<DisconnectReason> {
    let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
    loop {
        match recv(carrier.fd(), &mut scratch, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Some(DisconnectReason::ClientClosed),
            Ok((_, read)) => {
                let read = u16::try_from(read).unwrap_or(u16::MAX);
                carrier.note_discarded(read);
                if carrier.discarded_bytes() > MAX_DISCARDED_BYTES {
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
fn open(carrier: &mut Carrier) -> Result<Verdict, Errno> {
    let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
    loop {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let seen = match recv(carrier.fd(), &mut scratch, flags) {
            Ok((_, 0)) => return Ok(Verdict::Leaves),
            Ok((_, seen)) => seen,
            Err(Errno::AGAIN) => return Ok(Verdict::Stays),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        let budget = usize::from(MAX_DISCARDED_BYTES - carrier.discarded_bytes());
        let Some(secrets) = carrier.secrets_mut() else {
            return Ok(Verdict::Stays);
        };
        let (taken, verdict) = secrets.receive(&mut scratch[..seen], budget);
        if taken == 0 || verdict != Verdict::Stays {
            return Ok(verdict);
        }
        carrier.note_discarded(u16::try_from(taken).unwrap_or(MAX_DISCARDED_BYTES));
        // It was there a moment ago.
        recv(carrier.fd(), &mut scratch[..taken], RecvFlags::DONTWAIT)?;
    }
}

#[cfg(test)]
mod tests;
