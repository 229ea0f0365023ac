//! The engines: stores of events and session changes, behind the trait
//! [`Engine`](crate::hub::engine::Engine).
//!
//! | module | one purpose |
//! |---|---|
//! | [`memory`] | events are in the log and nowhere else |
//! | [`durable`] | events are also in a directory that outlives the process |
//! | [`record`] | the stored form of entries |
//! | [`redis`] | events are in Redis, which several nodes share |
//! | [`reconcile`] | brings a node's log in line with a shared store's |
//! | [`simulated`] | an engine of several nodes for tests only |
//! | [`check`], [`finding`] | tries the configured engine without serving |
//! | [`waiting`] | requests that wait for a store: a bound, and their answers |
//! | [`handover`] | what another process gets from an engine |
//! | [`tail`] | the end of the log, which engines append to |
//! | [`sequencer`] | a single node's ids; a repeated event gets its first id |
//! | [`local_register`] | a single node's places, tickets and login failures |
//! | [`sources`] | a single node's memory of publishers' own ids; in Redis, `publish.lua` has it |

mod check;
mod durable;
mod finding;
mod handover;
mod local_register;
mod memory;
mod reconcile;
mod record;
mod redis;
mod sequencer;
#[cfg(any(test, feature = "simulated"))]
mod simulated;
mod sources;
mod tail;
#[cfg(test)]
mod test_hub;
mod waiting;

pub(crate) use check::check;
pub(crate) use durable::DurableEngine;
pub(crate) use finding::Finding;
pub(crate) use memory::MemoryEngine;
pub(crate) use redis::RedisEngine;
#[cfg(feature = "simulated")]
pub(crate) use simulated::{SimulatedEngine, SimulatedParts};
