//! What clients send.
//!
//! | module | one purpose |
//! |---|---|
//! | [`reader`] | which reader a client's input goes to |
//! | [`input`] | what it can mean for the stream |
//! | [`discard`] | the reader of clients of events, who have nothing to say |
//! | [`intake`] | the bytes that have come, opened where they are sealed |

mod discard;
mod input;
mod intake;
#[allow(clippy::module_inception)] // what the folder is about
mod reader;
#[cfg(test)]
mod tests;

pub(super) use discard::drain;
pub(super) use input::Input;
pub(super) use reader::read;
