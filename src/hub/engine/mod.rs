//! The interface of an engine: the store of events and session changes, and the state that all nodes share.
//! Engines append to the log and everything else reads it, so an event takes one path with every engine.
//!
//! | module | one purpose |
//! |---|---|
//! | [`engine`] | the store itself |
//! | [`register`] | places, tickets, login failures, and presence on other nodes |
//! | [`local_node`] | what the other nodes may ask this one |
//! | [`promise`] | an answer that may take a round trip |
//! | [`continued`] | an engine that another process of the server continues |
//! | [`error`] | errors |

mod continued;
#[allow(clippy::module_inception)] // what the folder is about
mod engine;
mod error;
mod local_node;
mod promise;
mod register;

pub(crate) use continued::{
    Continued, EngineState, NotContinued, PortableEntry, PortableHistory, PortableLog,
    PortableShared, PortableSource,
};
pub(crate) use engine::{
    Applied, Engine, EngineFigures, EngineHealth, MAX_DRAFTS, NodeStatus, Notice, Verdict,
};
pub(crate) use error::{EngineError, OpenError};
pub(crate) use local_node::LocalNode;
pub(crate) use promise::{Answer, Promise};
pub(crate) use register::{Elsewhere, Located, Register};
