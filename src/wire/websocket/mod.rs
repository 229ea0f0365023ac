//! WebSocket (RFC 6455), as bytes: what a server writes and what it reads. No extension is
//! negotiated, so no reserved bit has a meaning.
//!
//! | module | one purpose |
//! |---|---|
//! | [`writer`] | signals into messages |
//! | [`reader`] | what a client sends, checked and counted but not kept |
//! | [`received`] | what the server has to do about it |
//! | [`head`] | the first bytes of a client's frame |
//! | [`frame`] | the bytes of the server's frames |
//! | [`close`] | why the server closes |
//! | [`utf8`] | whether text is UTF-8, a byte at a time |

mod close;
mod frame;
mod head;
mod reader;
mod received;
mod utf8;
mod writer;

pub(crate) use close::CloseCode;
pub(crate) use frame::close_frame;
pub(crate) use reader::{FrameReader, MAX_UNTAKEN_BYTES};
pub(crate) use received::Closing;
pub(super) use writer::{encode, push};
