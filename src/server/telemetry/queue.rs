//! The queue's bound. The SDK's own counts what it drops for itself alone; here it is said.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};

use super::tally::Tally;

/// Lets spans pass while there is room for them.
#[derive(Debug)]
pub(super) struct Queue {
    batches: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl Queue {
    pub(super) fn new(batches: BatchSpanProcessor, tally: Arc<Tally>) -> Self {
        Self { batches, tally }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.tally.admit() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}
