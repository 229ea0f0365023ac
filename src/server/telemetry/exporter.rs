//! Posts batches of spans to the collector: OTLP over HTTP, as protobuf.
//!
//! The SDK calls it on a thread without a runtime, so requests run on the control runtime. One connection
//! is kept open. There are no retries: a batch that does not arrive is lost.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use thiserror::Error;
use tokio::runtime::Handle;

use super::tally::Tally;
use crate::outbound::innermost;

/// Longest wait for the collector, including the time to connect.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A response is usually a few bytes; the connection of a longer one is closed.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Sends batches of spans to one collector.
#[derive(Debug)]
pub(super) struct Exporter {
    traces: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    resource: ResourceAttributesWithSchema,
    tally: Arc<Tally>,
    runtime: Handle,
}

/// The reason why a batch did not arrive.
#[derive(Debug, Error)]
enum PostError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no response within {TIMEOUT:?}")]
    Late,
    #[error("the collector answered {0}")]
    Refused(StatusCode),
}

impl Exporter {
    pub(super) fn new(
        traces: Uri,
        resource: &Resource,
        tally: Arc<Tally>,
        runtime: Handle,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build_http();
        Self {
            traces,
            client,
            resource: resource.into(),
            tally,
            runtime,
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), PostError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.traces.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| PostError::Unreachable(error.to_string()))?;
        let client = self.client.clone();
        let exchange = async move {
            let response = client
                .request(request)
                .await
                .map_err(|error| PostError::Unreachable(innermost(&error).to_string()))?;
            let status = response.status();
            // Read to its end, so that the connection can be used again.
            let _ = Limited::new(response.into_body(), MAX_RESPONSE_BYTES)
                .collect()
                .await;
            if status.is_success() {
                Ok(())
            } else {
                Err(PostError::Refused(status))
            }
        };
        self.runtime
            .spawn(async move {
                tokio::time::timeout(TIMEOUT, exchange)
                    .await
                    .unwrap_or(Err(PostError::Late))
            })
            .await
            .map_err(|error| PostError::Unreachable(error.to_string()))?
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        match self.post(request.encode_to_vec()).await {
            Ok(()) => {
                self.tally.arrived(spans);
                Ok(())
            }
            Err(error) => {
                self.tally.failed(spans, &error);
                Err(OTelSdkError::InternalFailure(error.to_string()))
            }
        }
    }
}
