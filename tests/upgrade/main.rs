//! Upgrades of the real binary: a new process takes over from the old one, and no client notices.
//!
//! | module | one purpose |
//! |---|---|
//! | [`server`] | the server, whatever process it is at the moment |
//! | [`clients`] | streams over all transports, and a publisher that never pauses |
//! | [`puppet`] | a new process that hangs at a certain message |
//! | [`scenarios`] | one file per part of the hand-over |

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it

#[path = "../common/mod.rs"]
#[allow(dead_code)] // tests/chaos uses the rest
mod common;
#[path = "../contract/support/mod.rs"]
#[allow(dead_code, unused_imports)] // the contract tests use the rest
#[allow(clippy::format_push_string, clippy::must_use_candidate)]
mod support;

mod clients;
mod puppet;
mod scenarios;
mod server;
