//! Chooses the engine, and makes the hub over it.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{Config, EngineKind};
use crate::engine::{DurableEngine, MemoryEngine, RedisEngine};
use crate::event::EventId;
use crate::hub::directory::{Directory, Rules};
use crate::hub::engine::Engine;
use crate::hub::log::Log;
use crate::hub::{EventCompression, Hub, Limits, Parts, Quota};
use crate::metrics::Metrics;

/// What an engine is made of, besides the configuration.
pub(super) struct EngineParts {
    pub(super) log: Arc<Log>,
    pub(super) directory: Arc<Directory>,
    pub(super) streams: Arc<Quota>,
    pub(super) clock: Clock,
}

/// The configured engine, which is not open yet.
pub(super) fn engine(config: &Config, parts: EngineParts) -> Arc<dyn Engine> {
    let EngineParts {
        log,
        directory,
        streams,
        clock,
    } = parts;
    match (config.engine.kind, &config.history.path) {
        (EngineKind::Redis, _) => {
            Arc::new(RedisEngine::new(config, log, directory, streams, clock))
        }
        #[cfg(feature = "simulated")]
        // The guard keeps the compiler from calling the memory engine unreachable.
        (EngineKind::Memory, None) if cfg!(feature = "simulated") => {
            let parts = crate::engine::SimulatedParts {
                log,
                directory,
                streams,
                clock,
            };
            Arc::new(crate::engine::SimulatedEngine::alone(parts))
        }
        (EngineKind::Memory, None) => Arc::new(MemoryEngine::new(log, clock)),
        (EngineKind::Memory, Some(path)) => Arc::new(DurableEngine::new(
            path.clone(),
            config.history.clone(),
            log,
            directory,
            clock,
        )),
    }
}

/// The hub over an engine, which is not open yet.
pub(super) fn hub(
    config: &Config,
    shard_count: usize,
    clock: Clock,
    engine: impl FnOnce(&Config, EngineParts) -> Arc<dyn Engine>,
) -> Arc<Hub> {
    let history = &config.history;
    let origin = EventId::origin(clock.unix_ms());
    let log = Arc::new(Log::new(history.max_bytes, history.max_age, origin));
    let directory = Arc::new(Directory::new(Rules::of(&config.auth)));
    let streams = Arc::default();
    let parts = EngineParts {
        log: Arc::clone(&log),
        directory: Arc::clone(&directory),
        streams: Arc::clone(&streams),
        clock: clock.clone(),
    };
    let engine = engine(config, parts);
    Hub::new(Parts {
        clock,
        metrics: Arc::new(Metrics::new(shard_count)),
        log,
        directory,
        engine,
        limits: Limits::of(config),
        streams,
        compression: EventCompression::of(&config.compression),
    })
}
