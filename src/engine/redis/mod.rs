//! An engine whose log is a stream in Redis or Valkey, so that several nodes share it.
//!
//! Each node reads the whole stream and appends it to its own log; publishing only writes to the stream. So an event
//! takes the same path on every node, the one that published it included. A node uses no connection before it has
//! compared its own log with what the server has: the server may be another one, may have lost its end, or may have
//! come back empty.
//!
//! In an upgrade, a node passes from one process to another. Only one of them has connections to the store: the old one
//! gives its own up, and for the new one it is a reconnect after the newest entry that it has followed.
//!
//! | module | one purpose |
//! |---|---|
//! | [`engine`] | hands requests to the writer, and answers |
//! | [`run`] | keeps the node attached: connects, serves until a connection fails, begins again |
//! | [`handover`] | passes the node to another process, and takes it over |
//! | [`attach`] | compares this node's log with the store's, and brings both together |
//! | [`reader`], [`placing`], [`replica`] | the store's log on its way into this node's, from the master or a replica |
//! | [`writer`], [`request`] | numbered groups of entries on their way into the store |
//! | [`sessions`], [`write_back`] | the users' standings in the store, and what it has lost of them |
//! | [`beat`], [`nodes`], [`ended`] | what nodes tell each other |
//! | [`ask`], [`asking`], [`questions`], [`answers`] | what nodes ask each other |
//! | [`register`] | places of users, tickets and login failures |
//! | [`resolve`], [`sentinel`], [`cluster`], [`topology`] | the address of the server that has the log, and of the next one |
//! | [`link`], [`spread`], [`loss`] | one connection; one for the keys that a cluster spreads; why they are given up |
//! | [`state`], [`core`] | what the node knows about the store; what the tasks share |
//! | [`check`] | tries the configured server, for `idlewild check --engine` |
//! | [`scripts`], [`keys`], [`entries`], [`settings`] | what runs in the store; names; responses; configuration |

mod answers;
mod ask;
mod asking;
mod attach;
mod beat;
mod check;
mod cluster;
mod core;
mod ended;
mod engine;
mod entries;
mod handover;
mod keys;
mod link;
mod loss;
mod nodes;
mod placing;
mod questions;
mod reader;
mod register;
mod replica;
mod request;
mod resolve;
mod run;
mod scripts;
mod sentinel;
mod sessions;
mod settings;
mod spread;
mod state;
mod topology;
mod write_back;
mod writer;

pub(crate) use check::{Unfit, check};
pub(crate) use engine::RedisEngine;

#[cfg(test)]
mod tests;
