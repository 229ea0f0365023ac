//! Exports spans to an OpenTelemetry collector, as `[telemetry]` says.
//!
//! Spans end anywhere and wait in a bounded [`queue`]; a thread takes them from there in batches
//! and has each posted by the control runtime ([`exporter`]), so that the sockets are in its
//! descriptor table. The thread is started before the shards', like everything that others wake.
//! A collector that is away costs its spans and nothing else.

mod export;
mod exporter;
mod queue;
mod tally;

pub(super) use export::Telemetry;
