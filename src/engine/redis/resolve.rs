//! The address of the server that takes writes to the log: a fixed one, or the one that Sentinels or a cluster name.

use std::convert::Infallible;

use super::cluster::{self, Cluster};
use super::link::ServerAddress;
use super::loss::Loss;
use super::sentinel::Sentinels;
use super::settings::RedisSettings;
use crate::clock::Clock;
use crate::config::Servers;

/// Who knows the address of the server that takes writes.
pub(super) enum Resolver {
    /// The configuration.
    Fixed(ServerAddress),
    /// Sentinels.
    Sentinels(Sentinels),
    /// The servers of a cluster.
    Cluster(Cluster),
}

impl Resolver {
    /// The resolver for the configured servers.
    pub(super) fn new(settings: &RedisSettings) -> Self {
        match &settings.servers {
            Servers::Tcp { host, port, tls } => Self::Fixed(ServerAddress::Tcp {
                host: host.to_string(),
                port: *port,
                is_tls: *tls,
            }),
            Servers::Unix(path) => Self::Fixed(ServerAddress::Unix(path.clone())),
            Servers::Sentinel {
                sentinels, master, ..
            } => Self::Sentinels(Sentinels::new(
                sentinels,
                master.clone(),
                settings.password.as_ref(),
            )),
            Servers::Cluster { seeds, tls } => {
                let seeds = cluster::addresses(seeds, *tls);
                Self::Cluster(Cluster::new(seeds, settings.clone()))
            }
        }
    }

    /// The address at this moment.
    pub(super) async fn resolve(&self) -> Result<ServerAddress, Loss> {
        match self {
            Self::Fixed(address) => Ok(address.clone()),
            Self::Sentinels(sentinels) => sentinels.resolve().await,
            Self::Cluster(cluster) => cluster.resolve().await,
        }
    }

    /// The addresses of the replicas that the log may be read from at this moment.
    pub(super) async fn replicas(&self) -> Vec<ServerAddress> {
        match self {
            Self::Fixed(_) | Self::Cluster(_) => Vec::new(),
            Self::Sentinels(sentinels) => sentinels.replicas().await,
        }
    }

    /// Ends when another server has replaced the one that was found last. A fixed address is never replaced.
    pub(super) async fn follow(&self, real: &Clock) -> Result<Infallible, Loss> {
        match self {
            Self::Fixed(_) => std::future::pending().await,
            Self::Sentinels(sentinels) => sentinels.follow(real).await,
            Self::Cluster(cluster) => cluster.follow(real).await,
        }
    }
}
