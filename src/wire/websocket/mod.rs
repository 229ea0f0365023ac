//! The bytes of WebSocket (RFC 6455) that the server sends and receives. No extension is negotiated,
//! so reserved bits must be 0.
//!
//! | module | one purpose |
//! |---|---|
//! | [`writer`] | encodes signals as messages |
//! | [`reader`] | checks and counts the frames of a client |
//! | [`received`] | the result: frames that need an answer, and the answers |
//! | [`head`] | the header of a client's frame |
//! | [`frame`] | the headers of the server's frames, and close frames |
//! | [`close`] | the server's reasons to close |
//! | [`utf8`] | checks text byte by byte |

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
