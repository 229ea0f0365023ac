//! What the server says to a client, and how.
//!
//! A [`Signal`] is what the server says. A [`Wire`] is how: the bytes of one transport. No
//! other module writes an SSE line, a chunk's size or a last chunk.
//!
//! | module | one purpose |
//! |---|---|
//! | [`signal`] | what can be said, as values |
//! | [`encoding`] | one encoding for each client, chosen by its wire |
//! | [`encoded`] | the bytes of what many clients get, made on first use and shared |
//! | [`sse`] | Server-Sent Events, in chunks or bare |
//! | [`json`] | what all wires have in common |

mod encoded;
mod encoding;
mod json;
mod signal;
mod sse;

pub use encoded::Encoded;
pub(crate) use encoded::Piece;
pub use encoding::Wire;
pub(crate) use signal::End;
pub use signal::{Event, Signal};
