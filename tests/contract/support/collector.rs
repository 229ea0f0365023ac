//! An OpenTelemetry collector that records what it receives.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;

use super::http::{HttpServer, Reply};

/// How it responds.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// With this status.
    Status(u16),
    /// Never responds.
    Silent,
}

/// A fake OpenTelemetry collector.
pub struct Collector {
    server: HttpServer,
    /// The bodies of all requests.
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    pub fn start(manner: Manner) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&received);
        let server = HttpServer::start(move |request| {
            let head = &request.head;
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert_eq!(
                request.header("content-type"),
                Some("application/x-protobuf"),
                "{head}"
            );
            shared.lock().push(request.body.clone());
            match manner {
                Manner::Status(status) => Reply::status(status),
                Manner::Silent => Reply::Nothing,
            }
        });
        Self { server, received }
    }

    pub fn endpoint(&self) -> String {
        self.server.url("")
    }

    /// The configuration for a server that exports to it.
    pub fn config(&self) -> String {
        format!("telemetry.otlp_endpoint = \"{}\"\n", self.endpoint())
    }

    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    pub fn requests(&self) -> usize {
        self.received.lock().len()
    }

    /// Returns true if a request contains these bytes.
    pub fn holds(&self, text: &str) -> bool {
        let received = self.received.lock();
        received.iter().any(|body| {
            body.windows(text.len())
                .any(|bytes| bytes == text.as_bytes())
        })
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.decoded()
            .into_iter()
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    /// The spans with this name.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }

    /// The only span with this name.
    #[track_caller]
    pub fn span(&self, name: &str) -> Span {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name} in {:?}", self.names());
        spans.remove(0)
    }

    /// The names of the spans, in the order in which they ended.
    pub fn names(&self) -> Vec<String> {
        self.spans().into_iter().map(|span| span.name).collect()
    }

    /// An attribute of the resource that sent the first spans.
    pub fn resource(&self, key: &str) -> Option<String> {
        let requests = self.decoded();
        let resource = requests
            .first()?
            .resource_spans
            .first()?
            .resource
            .as_ref()?;
        text(&resource.attributes, key)
    }

    fn decoded(&self) -> Vec<ExportTraceServiceRequest> {
        let received = self.received.lock();
        received
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.as_slice()).unwrap())
            .collect()
    }
}

/// An attribute of a span, as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    let Some(AnyValue { value: Some(value) }) = &attribute.value else {
        return None;
    };
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}
