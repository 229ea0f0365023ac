//! WebSocket (RFC 6455) as far as a client of a load needs it: the handshake's key, frames both ways, close codes.
//!
//! It knows no socket and no event. [`Reader`] finds what a server says in bytes that come in any pieces,
//! [`Replies`] is what the client owes it, [`Key`] and [`accept`] are the handshake's check.

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
