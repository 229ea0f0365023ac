//! An engine for tests: several nodes in one process share a store in memory. The store behaves as a replicated log
//! does, and not as Redis does, so it shows what the rest of the server relies on. Tests can delay it, cut a node off,
//! lose its replies, and make it forget. No release contains it: it is compiled for unit tests, and with the feature
//! `simulated`, in which it takes the memory engine's place for the contract tests.
//!
//! The store numbers its entries by a leader's *term* and a *sequence*, which has gaps. The leader's clock dates the
//! entries. It may fall while the sequence rises, so dates do not order entries. A new leader begins a new term, whose
//! number is above all earlier ones that it knows of. So the pair of term and sequence rises strictly, and it is never
//! given twice, even if an entry is lost and its sequence is used again. An entry's
//! [`EventId`](crate::event::EventId) is this pair. Its first part looks like a time, because a leader takes its
//! clock's for the first term, but it is the time of no entry.
//!
//! | module | one purpose |
//! |---|---|
//! | [`place`] | the place of an entry in the store, and its id |
//! | [`store`] | what all nodes share |
//! | [`members`] | the nodes, their leases and their answers |
//! | [`rows`] | the standings of users |
//! | [`link`] | a node's way to the store, and its faults |
//! | [`node`] | what the tasks of a node's engine share |
//! | [`attach`] | compares the node's log with the store's, and brings them together |
//! | [`run`] | keeps a node attached: reads, beats, reports |
//! | [`placing`] | places entries of the store into the node's log |
//! | [`sessions`] | session changes |
//! | [`engine`] | implements the hub's engine |
//! | [`register`] | places, tickets and login failures |

mod attach;
#[allow(clippy::module_inception)] // what the folder is about
mod engine;
mod link;
mod members;
mod node;
mod place;
mod placing;
mod register;
mod rows;
mod run;
mod sessions;
mod store;
#[cfg(test)]
mod tests;

#[cfg(feature = "simulated")]
pub(crate) use engine::{SimulatedEngine, SimulatedParts};
