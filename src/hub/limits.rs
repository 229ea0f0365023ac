//! The limits on streams.

use crate::config::{Config, OnLimit};

/// The limits on streams. They change when the configuration is reloaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most streams over all shards.
    pub(crate) connections: usize,
    /// Most test streams among them.
    pub(crate) test_streams: usize,
    /// The limit on streams per user.
    pub(crate) per_user: Limit,
}

/// The limit on streams per user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Most streams at the same time.
    pub connections: usize,
    /// What happens if a client asks for one more.
    pub on_limit: OnLimit,
}

impl Limits {
    /// The limits of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            connections: config.max_connections,
            test_streams: config.max_test_streams,
            per_user: Limit {
                connections: config.max_connections_per_user,
                on_limit: config.on_limit,
            },
        }
    }
}
