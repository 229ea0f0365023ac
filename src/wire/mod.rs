//! What the server says to a client, and how.
//!
//! A [`Signal`] is what the server says. A [`Wire`] is how: the bytes of one transport. No
//! other module writes an SSE line, a chunk's size, a last chunk or a WebSocket's frame.
//!
//! | module | one purpose |
//! |---|---|
//! | [`signal`] | what can be said, as values |
//! | [`encoding`] | one encoding for each client, chosen by its wire |
//! | [`encoded`] | the bytes of what many clients get, made on first use and shared |
//! | [`sse`] | Server-Sent Events, in chunks or bare |
//! | [`websocket`] | WebSocket: the messages of the server, and what clients send |
//! | [`json`] | what both have in common |

mod encoded;
mod encoding;
mod json;
mod signal;
mod sse;
pub(crate) mod websocket;

pub use encoded::Encoded;
pub(crate) use encoded::Piece;
pub use encoding::Wire;
pub(crate) use signal::End;
pub use signal::{Event, Signal};
pub(crate) use sse::refusal;
