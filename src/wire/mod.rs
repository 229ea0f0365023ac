//! The messages that the server sends to a client, and their encodings.
//!
//! A [`Signal`] is a message. A [`Wire`] is an encoding: the bytes of one transport. No other module writes an SSE
//! line, a chunk size, a last chunk or a WebSocket frame.
//!
//! | module | one purpose |
//! |---|---|
//! | [`signal`] | the messages, as values |
//! | [`encoding`] | the encodings, one of which each client has |
//! | [`encoded`] | a message for many clients, encoded on first use and shared |
//! | [`sse`] | Server-Sent Events, chunked or bare |
//! | [`gzip`], [`deflate`], [`checksum`] | Server-Sent Events in a gzip stream |
//! | [`websocket`] | WebSocket: the server's messages, and the input of clients |
//! | [`json`] | the JSON that all encodings share |

mod checksum;
mod deflate;
mod encoded;
mod encoding;
mod gzip;
mod json;
mod signal;
mod sse;
pub(crate) mod websocket;

pub(crate) use checksum::{Checksum, FrameChecksum};
pub use encoded::Encoded;
pub(crate) use encoded::Piece;
pub use encoding::Wire;
pub(crate) use gzip::Deflated;
pub(crate) use signal::End;
pub use signal::{Event, Signal};
pub(crate) use sse::refusal;
