//! What the shards are started with: their number, their settings, and their listeners.

use crate::clock::millis;
use crate::config::{Config, FdTables, own_descriptors};
use crate::net::{Listener, Passage};
use crate::shard::{Settings, StartError, Starter};

/// The number of shards, by default one per core.
pub(super) fn count(config: &Config) -> usize {
    match config.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        shards => shards,
    }
}

/// What is the same for all shards. `nofile` is the limit of open descriptors.
pub(super) fn settings(config: &Config, shard_count: usize, nofile: u64) -> Settings {
    Settings {
        heartbeat: config.heartbeat,
        stall_timeout: config.stall_timeout,
        max_backlog_bytes: config.max_backlog_bytes,
        retry_ms: millis(config.retry_min)..=millis(config.retry_max),
        table_capacity: table_capacity(config, shard_count, nofile),
        max_handshakes: config.max_handshakes.div_ceil(shard_count),
    }
}

/// The kernel spreads connections by hash, not evenly. So each table has room for all connections, or
/// for as many as the shard has descriptors.
fn table_capacity(config: &Config, shard_count: usize, nofile: u64) -> usize {
    let own = match config.fd_tables {
        FdTables::Shared => nofile,
        FdTables::PerShard => {
            let handshakes = config.max_handshakes.div_ceil(shard_count) as u64;
            nofile.saturating_sub(handshakes + own_descriptors(config))
        }
    };
    config
        .max_connections
        .min(usize::try_from(own).unwrap_or(usize::MAX))
}

/// Creates one starter per shard, each with one listener of every endpoint.
pub(super) fn starters(
    listeners: Vec<Vec<Listener>>,
    shard_count: usize,
) -> Result<Vec<(Starter, Passage)>, StartError> {
    let mut shares: Vec<Vec<Listener>> = (0..shard_count).map(|_| Vec::new()).collect();
    for of_one_endpoint in listeners {
        // There are more than shards if the process before this one had more.
        for (number, listener) in of_one_endpoint.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(number % shard_count) {
                share.push(listener);
            }
        }
    }
    shares
        .into_iter()
        .enumerate()
        .map(|(number, share)| Starter::new(u16::try_from(number).unwrap_or(u16::MAX), share))
        .collect()
}
