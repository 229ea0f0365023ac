//! How many clients there may be.

use crate::config::{Config, OnLimit};

/// How many clients there may be. Changes while the server runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Streams at once, over all shards.
    pub(crate) connections: usize,
    /// Test streams among them.
    pub(crate) test_streams: usize,
    /// Streams of one user.
    pub(crate) per_user: Limit,
}

/// How many streams a user may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// At once.
    pub connections: usize,
    /// What happens to one more.
    pub on_limit: OnLimit,
}

impl Limits {
    /// Those of a configuration.
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
