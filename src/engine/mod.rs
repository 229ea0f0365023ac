//! Where events come from and are kept: the stores that [`Engine`](crate::hub::engine::Engine) asks for.
//!
//! | module | one purpose |
//! |---|---|
//! | [`memory`] | the log and nothing else |
//! | [`durable`] | the log, and a directory that outlives the process |
//! | [`tail`] | the end of the log that is appended to |
//! | [`sequencer`] | what one node decides alone: ids, and whether an event is new |
//! | [`local_register`] | what one node decides alone: places, tickets, logins |
//! | [`sources`] | a publisher's retry publishes nothing |

mod durable;
mod local_register;
mod memory;
mod sequencer;
mod sources;
mod tail;

pub(crate) use durable::DurableEngine;
pub(crate) use memory::MemoryEngine;
