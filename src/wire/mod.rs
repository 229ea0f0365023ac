//! The messages that the server sends to a client, and their encodings.
//!
//! A [`Signal`] is a message. A [`Wire`] is an encoding: the bytes of one transport. No other module writes an SSE
//! line, a chunk size or a last chunk.
//!
//! | module | one purpose |
//! |---|---|
//! | [`signal`] | the messages, as values |
//! | [`encoding`] | the encodings, one of which each client has |
//! | [`encoded`] | a message for many clients, encoded on first use and shared |
//! | [`sse`] | Server-Sent Events, chunked or bare |

mod encoded;
mod encoding;
mod signal;
mod sse;

pub use encoded::Encoded;
pub(crate) use encoded::Piece;
pub use encoding::Wire;
pub(crate) use signal::End;
pub use signal::{Event, Signal};
