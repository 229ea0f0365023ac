//! The state of one client in a shard's table: 64 bytes, and a box with the state that few clients need.
//!
//! A [`carrier`] is a socket, a [`stream`] is what one client receives. Today each socket carries one stream, so
//! both share a slot. The types separate what a socket with several streams would have only once.
//!
//! | module | one purpose |
//! |---|---|
//! | [`slot`] | both halves, and the changes that concern both |
//! | [`carrier`] | what belongs to a socket |
//! | [`stream`], [`test_stream`] | what belongs to a stream |
//! | [`extra`] | the box |
//! | [`inbound`] | the state of a WebSocket client's reader |
//! | [`moving`], [`portable`] | a slot as it is described to another process, and its socket's part |
//! | [`opening`] | the initial values of a slot |

mod carrier;
mod extra;
mod inbound;
mod moving;
mod opening;
mod portable;
#[allow(clippy::module_inception)] // the folder's main type
mod slot;
mod stream;
mod test_stream;

pub(super) use carrier::{Carrier, PingTime};
pub(super) use inbound::Inbound;
pub(super) use moving::{Named, Portable};
pub(super) use opening::{Kind, Opening};
pub(super) use slot::Slot;
pub(super) use stream::Stream;
