//! The engine's settings, from the configuration.

use std::time::Duration;

use crate::config::{Config, LimitScope, Secret, Servers};

/// The settings of one node.
#[derive(Clone, Debug)]
pub(super) struct RedisSettings {
    pub(super) servers: Servers,
    /// Whether the log is read from a replica, while one can be used.
    pub(super) reads_replica: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
    /// Certificates that sign the server's, in PEM.
    pub(super) ca: Option<Vec<u8>>,
    pub(super) prefix: String,
    /// This node's name.
    pub(super) node: String,
    /// The log and this node's name, for people, and to compare them with another process's.
    pub(super) log_name: String,
    /// How many replicas must have an entry before it is accepted.
    pub(super) replicas: u32,
    pub(super) linger: Duration,
    /// How long streams are admitted without contact; zero means for ever.
    pub(super) max_stale: Duration,
    pub(super) limit_scope: LimitScope,
    /// Most bytes of the log in the store.
    pub(super) max_bytes: usize,
    /// How long entries are kept in the store: a minute longer than a node keeps them, so that a node that starts
    /// finds all of them.
    pub(super) keep: Duration,
}

/// Added to `history.max_age` for the store, because the clocks of nodes differ.
const KEEP_LONGER: Duration = Duration::from_secs(60);

impl RedisSettings {
    pub(super) fn of(config: &Config) -> Self {
        let engine = &config.engine;
        let url = &engine.url;
        let node = match engine.node.as_str() {
            "" => default_name(),
            name => name.to_owned(),
        };
        Self {
            log_name: format!(
                "`{}` (engine.prefix `{}`, engine.node `{node}`)",
                url.of_log(),
                engine.prefix
            ),
            servers: url.servers().clone(),
            reads_replica: url.reads_replica(),
            user: url.user().map(Into::into),
            password: engine.password().cloned(),
            database: url.database(),
            ca: engine.ca.as_ref().map(|ca| ca.content().to_vec()),
            prefix: engine.prefix.clone(),
            node,
            replicas: engine.replicas,
            linger: engine.linger,
            max_stale: engine.max_stale,
            limit_scope: engine.limit_scope,
            max_bytes: engine.max_bytes,
            keep: config.history.max_age.saturating_add(KEEP_LONGER),
        }
    }
}

/// The host's name and a random part, because several nodes may run on one host.
fn default_name() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}-{:06x}", fastrand::u32(..0x100_0000))
}
