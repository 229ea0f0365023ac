//! Exports spans to an OpenTelemetry collector, as configured in `[telemetry]`.
//!
//! Spans end on any thread and wait in a bounded queue ([`span_queue`]). A thread of the SDK takes them in
//! batches, and the control runtime posts each batch ([`exporter`]), so the sockets are in the control
//! side's descriptor table. The thread starts before the shards, like everything that other threads wake.
//! If the collector is down, spans are lost, but nothing else is affected.

mod exporter;
mod span_queue;
mod tally;
mod trace_export;

pub(super) use trace_export::TraceExport;
