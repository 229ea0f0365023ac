//! Why a node gives its connections up.

use std::io;

use redis::RedisError;

use crate::hub::log::NotRising;

/// Why a node gives its connections up. It then compares its log with the store's again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Loss {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no timer for the limit of all nodes: {0}")]
    Timer(io::Error),
    #[error("no sign of life from Redis for {0} s")]
    Silent(u64),
    #[error("the server no longer has the master's history, or is not a replica")]
    NotItsReplica,
    #[error("the replica is {0} ms behind the master")]
    Lagging(u64),
    #[error("the log in Redis was trimmed beyond what this node has read")]
    Trimmed,
    #[error("the Sentinels have chosen another master")]
    Switched,
    #[error("the Sentinels know no master named `{0}`")]
    NoMaster(Box<str>),
    #[error("another server of the cluster has taken over the log")]
    TakenOver,
    #[error("the cluster has no server for the log")]
    NoOwner,
    #[error("connections to the same address reached different servers")]
    TwoServers,
    #[error("another process runs as the node `{0}`; give each node another engine.node, or none")]
    NameTaken(String),
    #[error("the log in Redis is out of order: {0}")]
    OutOfOrder(#[from] NotRising),
}
