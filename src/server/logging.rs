//! Writes log lines to stderr, in the configured format and from the configured level. The export of
//! spans is a separate layer, which shares only the registry with the log.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogFormat, LogLevel};
use crate::spans;

/// A layer of the tracing registry, such as the log or the export of spans.
pub(super) type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// A handle to change the log level while the process runs.
pub(super) struct Level(reload::Handle<Targets, Registry>);

/// Starts logging, and exporting spans if there is an `export`. Called once per process.
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
    // A program that embeds the server may have its own subscriber, which then stays.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Level(handle)
}

impl Level {
    pub(super) fn set(&self, level: LogLevel) {
        // Fails only if another subscriber is in use; its level is not ours to change.
        let _ = self.0.reload(filter(level));
    }
}

/// A filter for log lines from a level on. It excludes spans, which are exported at any log level.
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
