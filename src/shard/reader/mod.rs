//! Reads what clients send during a stream.
//!
//! | module | one purpose |
//! |---|---|
//! | [`reader`] | chooses the reader of a client's transport |
//! | [`input`] | the consequences for the stream |
//! | [`discard`] | the reader for SSE clients |
//! | [`intake`] | takes bytes off the socket, and opens TLS records |

mod discard;
mod input;
mod intake;
#[allow(clippy::module_inception)] // the folder's main type
mod reader;
#[cfg(test)]
mod tests;

pub(super) use discard::drain;
pub(super) use input::Input;
pub(super) use reader::read;
