//! What a store of events and session changes has to do, and what has to be one for all nodes.
//! Engines append to the log; everything else reads it, so that an event takes one path whatever the
//! engine.
//!
//! | module | one purpose |
//! |---|---|
//! | [`engine`] | the store |
//! | [`register`] | places, tickets, login failures, and who is online elsewhere |
//! | [`promise`] | an answer that is here, or will be |
//! | [`error`] | what went wrong |

#[allow(clippy::module_inception)] // what the folder is about
mod engine;
mod error;
mod promise;
mod register;

pub(crate) use engine::{Engine, EngineHealth, MAX_DRAFTS, Notice};
pub(crate) use error::{EngineError, OpenError};
pub(crate) use promise::{Answer, Promise};
pub(crate) use register::Register;
