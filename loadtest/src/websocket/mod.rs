//! The parts of WebSocket (RFC 6455) that a client of the load needs: the handshake's key, frames in both
//! directions, close codes.
//!
//! This module has no sockets and no events. [`Reader`] parses a server's frames from bytes that may be split
//! anywhere, [`Replies`] holds the frames that the client must send, [`Key`] and [`accept`] check the handshake.

mod close;
mod frame;
mod handshake;
#[cfg(test)]
mod model;
mod reader;
mod replies;
mod violation;

pub(crate) use close::Close;
pub(crate) use frame::{Opcode, unmasked};
pub(crate) use handshake::{ACCEPT_BYTES, Key, accept};
pub(crate) use reader::{Item, Reader};
pub(crate) use replies::Replies;
pub(crate) use violation::Violation;
