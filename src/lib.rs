//! Idlewild, a Server-Sent Events hub that holds an idle client for its kernel socket and one
//! cache line.
//!
//! The parts, from the top layer down; a lower layer never imports a higher one:
//!
//! | layer | module | one purpose |
//! |---|---|---|
//! | 6 | [`cli`], [`server`] | commands; wiring, start, reload and drain |
//! | 5 | [`public`], [`admin`] | the two HTTP services: they translate requests into the hub's verbs |
//! | 4 | [`shard`] | owns the sockets: acceptor, poller, table, wheel, delivery |
//! | 4 | [`engine`] | where events come from and are kept |
//! | 3 | [`hub`] | the domain: who is connected where, what happened, who is allowed to do what |
//! | 2 | [`auth`], [`wire`], [`tls`], [`refusals`] | who are you; what clients are told, and how; what streams are sealed with; who was not let in |
//! | 1 | [`event`], [`topic`], [`config`], [`metrics`], [`spans`], [`clock`], [`outbound`], [`sys`], [`net`], [`shutdown`], `expiring`, `interner`, `page`, `quiet`, `request`, `text` | plain values, time, questions to others, system calls, and what pages in the binary, or requests, have in common |

pub mod admin;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod event;
mod expiring;
pub mod hub;
mod interner;
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
pub mod wire;
