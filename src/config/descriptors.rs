//! Checks that the machine's limit of descriptors is high enough for the configuration.

use super::error::ConfigError;
use super::root::{Config, FdTables};

/// Descriptors of the process itself: connections to the application and to the key set's URL, history,
/// traces, logs, the control socket, and files that are open briefly.
const OTHER_DESCRIPTORS: u64 = 256;

/// Admin connections per listener that were closed to make room, but whose sockets may still be open
/// briefly. A listener that waited for each would accept only a few hundred per second.
pub(crate) const MAX_LEAVING: usize = 16;

/// Admin connections beyond `admin_max_connections`. If none is idle, they still let health and metrics
/// respond.
pub(crate) const SPARE_ADMIN_CONNECTIONS: usize = 64;

/// Descriptors of a shard besides its listeners: epolls, eventfds, its runtime's signal pipe (8), the passage into its
/// table (2), and the sockets over which its streams move during an upgrade (2).
const DESCRIPTORS_PER_SHARD: usize = 12;
/// Descriptors of a shard's listener: its own, and the copy for the process that continues this one.
const DESCRIPTORS_PER_LISTENER: usize = 2;

/// Rejects a configuration with more clients than the descriptor limit allows. With
/// `fd_tables = "per-shard"` the limit applies to each shard's share.
///
/// # Errors
/// One line with the number needed, the limit, and how to raise it.
pub(crate) fn check_descriptors(config: &Config, nofile_hard: u64) -> Result<(), ConfigError> {
    let shards = shards(config);
    let own = own_descriptors(config);
    // The last one is the connection that was just accepted.
    let leaving = config.admin_listen.len() * (MAX_LEAVING + 1 + 1);
    let admin = (config.admin_max_connections + SPARE_ADMIN_CONNECTIONS + leaving) as u64;
    let share = |count: usize, tables: usize| count.div_ceil(tables) as u64;
    let clients = |tables| {
        share(config.max_connections, tables).saturating_add(share(config.max_handshakes, tables))
    };
    let (needed, whose) = match config.fd_tables {
        FdTables::Shared => (clients(1).saturating_add(own + admin), ""),
        FdTables::PerShard => (
            clients(shards).saturating_add(own).max(own + admin),
            " per table",
        ),
    };
    if needed <= nofile_hard {
        return Ok(());
    }
    Err(ConfigError::key(
        "max_connections",
        format!(
            "{} needs {needed} descriptors{whose} (with max_handshakes, admin_max_connections and what the process opens itself), nofile allows {nofile_hard} (ulimit -n {needed}, LimitNOFILE={needed}, or lower one of the three)",
            config.max_connections
        ),
    ))
}

/// Descriptors in each table besides clients, handshakes and admin connections. Descriptors that are
/// opened before the shard threads start are in every table.
pub(crate) fn own_descriptors(config: &Config) -> u64 {
    let listeners = config.listen.len() + config.tls.listen.len();
    let of_shard = DESCRIPTORS_PER_SHARD + DESCRIPTORS_PER_LISTENER * listeners;
    (shards(config) * of_shard) as u64 + OTHER_DESCRIPTORS
}

fn shards(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let shards = Some(config.shards).filter(|shards| *shards > 0);
    shards.unwrap_or_else(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_counted_for_the_table_that_holds_them() {
        let mut config = Config {
            max_connections: 1000,
            max_handshakes: 100,
            admin_max_connections: 50,
            shards: 2,
            ..Config::default()
        };
        let own = 2 * (12 + 2) + OTHER_DESCRIPTORS;
        let needed = 1000 + 100 + 50 + 64 + 18 + own;
        assert_eq!(needed, 1516);
        assert!(check_descriptors(&config, needed).is_ok());
        let error = check_descriptors(&config, needed - 1)
            .unwrap_err()
            .to_string();
        for part in [
            "max_connections: 1000",
            "1516",
            "1515",
            "ulimit -n 1516",
            "LimitNOFILE=1516",
        ] {
            assert!(error.contains(part), "{error}");
        }
        config.fd_tables = FdTables::PerShard;
        config.shards = 3;
        let own = 3 * (12 + 2) + OTHER_DESCRIPTORS;
        let share = 334 + 34 + own;
        assert!(check_descriptors(&config, share).is_ok());
        let error = check_descriptors(&config, share - 1)
            .unwrap_err()
            .to_string();
        let descriptors = format!("{share} descriptors per table");
        assert!(error.contains(&descriptors), "{error}");
        // The admin connections are in the main thread's table.
        config.admin_max_connections = 1000;
        assert!(check_descriptors(&config, 1082 + own).is_ok());
        assert!(check_descriptors(&config, 1082 + own - 1).is_err());
        config.max_connections = usize::MAX;
        config.shards = 0;
        assert!(check_descriptors(&config, u64::from(u32::MAX)).is_err());
    }
}
