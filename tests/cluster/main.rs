//! Several nodes that share one Redis: real processes, real faults. In the end, every client has each accepted event
//! once and in order, or was told of a gap.
//!
//! | module | one purpose |
//! |---|---|
//! | [`redis`], [`replicas`], [`sentinel`], [`redis_cluster`], [`daemon`] | real Redis servers: one; a master with replicas; what promotes them; a Redis Cluster; their processes |
//! | [`proxy`] | faults between two of the processes |
//! | [`node`] | the real binary |
//! | [`pause`] | processes that stand still |
//! | [`accounts`], [`clients`], [`publishers`] | who uses the nodes |
//! | [`crowd`] | clients of one user, more than its limit |
//! | [`load`] | clients and publishers together, and the check |
//! | [`last_lines`] | what a test that fails shows of the servers' logs |
//! | [`common`] | what tests with many clients share |
//! | [`scenarios`] | one file per fault |

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it

#[path = "../common/mod.rs"]
#[allow(dead_code)] // tests/chaos uses the rest
mod common;
#[path = "../contract/support/mod.rs"]
#[allow(dead_code, unused_imports)] // the contract tests use the rest
#[allow(clippy::format_push_string, clippy::must_use_candidate)]
mod support;

mod accounts;
mod clients;
mod crowd;
mod daemon;
mod last_lines;
mod load;
mod node;
mod pause;
mod proxy;
mod publishers;
mod redis;
mod redis_cluster;
mod replicas;
mod scenarios;
mod sentinel;
