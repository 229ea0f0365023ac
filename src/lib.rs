//! Idlewild, a Server-Sent Events hub that holds an idle client for its kernel socket and one
//! cache line.
//!
//! The parts, from the top layer down; a lower layer never imports a higher one:
//!
//! | layer | module | one purpose |
//! |---|---|---|
//! | 5 | [`cli`], [`server`] | commands; wiring, start, reload and drain |
//! | 4 | [`public`], [`admin`] | the two hyper services |
//! | 3 | [`shard`] | owns the sockets: acceptor, poller, table, wheel, delivery |
//! | 3 | [`engine`] | where events come from and are kept |
//! | 2 | [`directory`], [`log`], [`auth`], [`refusals`], [`tls`] | who is connected where; what happened; who are you; who was not let in; what streams are sealed with |
//! | 1 | [`event`], [`frame`], [`topic`], [`config`], [`metrics`], [`spans`], [`clock`], [`outbound`], [`sys`], [`net`], [`shutdown`], `expiring`, `interner`, `page`, `quiet`, `request`, `text` | plain values, time, questions to others, system calls, connections before they are served, the server's end, maps, and what pages in the binary, or requests, have in common |

pub mod admin;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod engine;
pub mod event;
mod expiring;
pub mod frame;
mod interner;
pub mod log;
pub mod metrics;
pub mod net;
mod outbound;
mod page;
pub mod public;
mod quiet;
pub mod refusals;
mod request;
pub mod server;
pub mod shard;
pub mod shutdown;
pub mod spans;
pub mod sys;
mod text;
pub mod tls;
pub mod topic;
