//! What a shard's table holds for one client: 64 bytes, and a box for what few clients need beside.
//!
//! A [`carrier`] is a socket, a [`stream`] is what one client gets. Today a socket carries one stream,
//! so they share a slot; the types keep apart what a socket with several streams would have once.
//!
//! | module | one purpose |
//! |---|---|
//! | [`slot`] | both, and what changes both |
//! | [`carrier`] | what belongs to a socket |
//! | [`stream`], [`test_stream`] | what belongs to a stream |
//! | [`extra`] | the box |
//! | [`opening`] | what a slot begins with |

mod carrier;
mod extra;
mod opening;
#[allow(clippy::module_inception)] // what the folder is about
mod slot;
mod stream;
mod test_stream;

pub(super) use carrier::Carrier;
pub(super) use opening::{Kind, Opening};
pub(super) use slot::Slot;
pub(super) use stream::Stream;
