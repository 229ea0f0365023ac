//! The export as a whole: builds it from its parts, and ends it.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

use super::exporter::Exporter;
use super::span_queue::SpanQueue;
use super::tally::Tally;
use crate::clock::Clock;
use crate::config::Telemetry;
use crate::server::logging::AnyLayer;
use crate::spans;
use crate::version;

/// Spans that wait or are being sent: 2 MB if all are of admin requests.
const MAX_WAITING: usize = 2_048;
/// Spans in one request to the collector.
const MAX_BATCH: usize = 512;
/// Longest time that a span waits for others of its batch.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the last batches when the server ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A running export.
pub(in crate::server) struct TraceExport {
    provider: SdkTracerProvider,
    tally: Arc<Tally>,
}

impl TraceExport {
    /// Exports to `traces`, on `runtime`.
    pub(in crate::server) fn start(
        settings: &Telemetry,
        traces: Uri,
        clock: Clock,
        runtime: Handle,
    ) -> Self {
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                version::VERSION,
            ))
            .build();
        let tally = Arc::new(Tally::new(MAX_WAITING, traces.clone(), clock));
        let exporter = Exporter::new(traces, &resource, Arc::clone(&tally), runtime);
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let batches = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        // The publisher's sampling decision also applies to our part of its trace.
        let own = Sampler::TraceIdRatioBased(settings.sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(own)))
            .with_span_processor(SpanQueue::new(batches, Arc::clone(&tally)))
            .build();
        Self { provider, tally }
    }

    /// The layer that collects the spans for the export.
    pub(in crate::server) fn layer(&self) -> AnyLayer {
        let spans = Targets::new().with_target(spans::TARGET, LevelFilter::INFO);
        tracing_opentelemetry::layer::<Registry>()
            .with_tracer(self.provider.tracer("idlewild"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(spans)
            .boxed()
    }

    /// Sends the remaining spans. Blocks for at most `left` or [`FLUSH_TIMEOUT`], so do not call it on a
    /// runtime's thread.
    pub(in crate::server) fn flush(&self, left: Duration) {
        // If the collector does not answer in time, `close` logs the lost spans.
        let _ = self.provider.shutdown_with_timeout(left.min(FLUSH_TIMEOUT));
        self.tally.close();
    }
}
