//! An OpenTelemetry collector that keeps what it is sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;

/// How it answers.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// With this status.
    Status(u16),
    /// Never.
    Silent,
}

/// See the module's text.
pub struct Collector {
    pub address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    connections: usize,
    bodies: Vec<Vec<u8>>,
}

impl Collector {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                shared.lock().connections += 1;
                let shared = Arc::clone(&shared);
                let _: JoinHandle<()> = std::thread::spawn(move || {
                    serve(socket.unwrap(), manner, &shared);
                });
            }
        });
        Self { address, received }
    }

    /// The section that has a server export to it.
    pub fn config(&self) -> String {
        format!("telemetry.otlp_endpoint = \"http://{}\"\n", self.address)
    }

    pub fn connections(&self) -> usize {
        self.received.lock().connections
    }

    pub fn requests(&self) -> usize {
        self.received.lock().bodies.len()
    }

    /// Whether these bytes stand anywhere in what came.
    pub fn holds(&self, text: &str) -> bool {
        let received = self.received.lock();
        received.bodies.iter().any(|body| {
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

    /// The spans of this name.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }

    /// The only span of this name.
    #[track_caller]
    pub fn span(&self, name: &str) -> Span {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name} in {:?}", self.names());
        spans.remove(0)
    }

    /// The spans' names, in the order of their ends.
    pub fn names(&self) -> Vec<String> {
        self.spans().into_iter().map(|span| span.name).collect()
    }

    /// An attribute of who sent the first spans.
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
            .bodies
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.as_slice()).unwrap())
            .collect()
    }
}

/// An attribute of a span, written out.
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

/// Reads requests until the connection ends.
fn serve(mut socket: TcpStream, manner: Manner, received: &Mutex<Received>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        while let Some((head, end)) = request(&bytes) {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(
                head.to_lowercase()
                    .contains("content-type: application/x-protobuf\r\n"),
                "{head}"
            );
            let body = bytes[head.len()..end].to_vec();
            bytes.drain(..end);
            received.lock().bodies.push(body);
            if let Manner::Status(status) = manner {
                let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
                if socket.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The head of the first request, and where its body ends, if it is whole.
fn request(bytes: &[u8]) -> Option<(String, usize)> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let length: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().unwrap())
    })?;
    (bytes.len() >= head_end + length).then_some((head, head_end + length))
}
