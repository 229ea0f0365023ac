//! A hub of one shard on an engine, for tests.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::OnLimit;
use crate::hub::directory::{Directory, Rules};
use crate::hub::engine::Engine;
use crate::hub::log::Log;
use crate::hub::{EventCompression, Hub, Limit, Limits, Parts};
use crate::metrics::Metrics;

/// The hub, whose dispatcher does not run.
pub(super) fn hub_on(engine: Arc<dyn Engine>, log: Arc<Log>, clock: &Clock) -> Arc<Hub> {
    Hub::new(Parts {
        clock: clock.clone(),
        metrics: Arc::new(Metrics::new(1)),
        log,
        directory: Arc::new(Directory::new(Rules::of(&crate::config::Auth::default()))),
        engine,
        limits: Limits {
            connections: 1,
            test_streams: 1,
            per_user: Limit {
                connections: 1,
                on_limit: OnLimit::Reject,
            },
        },
        streams: Arc::default(),
        compression: EventCompression::OFF,
    })
}
