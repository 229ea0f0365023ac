//! Where log lines go: stderr, one an event, in the configured form, from the configured level.
//! What exports spans stands beside them and shares nothing with them but the registry.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogFormat, LogLevel};
use crate::spans;

/// Something that is told of events and spans.
pub(super) type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes the level of a running process.
pub(super) struct Level(reload::Handle<Targets, Registry>);

/// Starts logging, and `export` where there is one. Called once a process.
pub(super) fn init(level: LogLevel, format: LogFormat, export: Option<AnyLayer>) -> Level {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let lines: AnyLayer = match format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let layers: Vec<AnyLayer> = export.into_iter().chain([lines]).collect();
    // Somebody who embeds the server may log already; then their lines are used.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Level(handle)
}

impl Level {
    pub(super) fn set(&self, level: LogLevel) {
        // Fails only where another subscriber is in use, whose level is not ours.
        let _ = self.0.reload(filter(level));
    }
}

/// Log lines of a level, and no spans: those are for the export, at any level.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level)
        .with_target(spans::TARGET, LevelFilter::OFF)
}
