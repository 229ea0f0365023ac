//! The transport of the tests' clients, which `IDLEWILD_CONTRACT` selects. Tests and expectations are the same for
//! all:
//!
//! | | streams over SSE | streams over WebSocket |
//! |---|---|---|
//! | plain TCP | unset | `ws` |
//! | TLS | `tls` | `wss` |
//!
//! `gzip` and `gzips` are plain TCP and TLS with compressed streams over SSE.
//!
//! `redis` is plain TCP and SSE, with the store of [`super::store`]. With the feature `simulated`, the servers have the
//! simulated engine of several nodes in place of the memory engine (src/engine/simulated).
//!
//! Unix sockets and sockets that a supervisor passes never use TLS (supervisor.rs explains why). A test of SSE or HTTP
//! itself calls `over_sse`, and then uses SSE in every variant. The same applies to requests that a test writes by hand.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use idlewild::config::{self, Config};

use super::certificate::Certificate;

/// The variable that selects the transport; plain TCP and SSE if it is not set.
const VARIABLE: &str = "IDLEWILD_CONTRACT";

static VARIANT: LazyLock<Variant> = LazyLock::new(|| {
    let value = std::env::var_os(VARIABLE);
    match value.as_ref().map(|value| value.to_str()) {
        None => Variant::Plain,
        Some(Some("tls")) => Variant::Tls,
        Some(Some("ws")) => Variant::WebSocket,
        Some(Some("wss")) => Variant::WebSocketTls,
        Some(Some("gzip")) => Variant::Gzip,
        Some(Some("gzips")) => Variant::GzipTls,
        Some(Some("redis")) => Variant::Redis,
        Some(_) => panic!(
            "{VARIABLE}: `{}` is not a variant (use `tls`, `ws`, `wss`, `gzip`, `gzips`, `redis`, or unset it)",
            value.unwrap_or_default().display()
        ),
    }
});

#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Plain,
    Tls,
    WebSocket,
    WebSocketTls,
    Gzip,
    GzipTls,
    Redis,
}

/// The certificate of every server for which a test sets no other.
static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::of(&["localhost", "127.0.0.1"]));

/// The address of a server, and how clients use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub tcp: SocketAddr,
    pub is_tls: bool,
    /// Clients open the notifications stream over WebSocket.
    pub is_websocket: bool,
    /// Clients ask for compressed streams.
    pub is_gzip: bool,
}

pub fn is_tls() -> bool {
    matches!(
        *VARIANT,
        Variant::Tls | Variant::WebSocketTls | Variant::GzipTls
    )
}

/// Returns true if the servers offer compression.
pub fn is_gzip() -> bool {
    matches!(*VARIANT, Variant::Gzip | Variant::GzipTls)
}

/// The kind of the servers' engine, for people.
pub fn engine_kind() -> &'static str {
    match is_redis() {
        true => "redis",
        false if cfg!(feature = "simulated") => "simulated",
        false => "memory",
    }
}

/// Returns true if the servers' log is in Redis.
pub fn is_redis() -> bool {
    *VARIANT == Variant::Redis
}

pub fn certificate() -> &'static Certificate {
    &CERTIFICATE
}

/// Gives a server a TLS listener. Its certificate is written to `directory`.
pub fn add_listener(config: &mut Config, directory: &Path) {
    config.tls.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.tls.certificates = vec![certificate().write(directory, "shared")];
}

/// A server's configuration file, with a listener for these tests' clients.
pub fn with_listener(file: &str, directory: &Path) -> String {
    if is_tls() && !file.contains("\n[tls]\n") {
        with_tls_listener(file, directory)
    } else {
        file.to_owned()
    }
}

/// The same, always with TLS.
pub fn with_tls_listener(file: &str, directory: &Path) -> String {
    let config::Certificate { cert, key } = certificate().write(directory, "shared");
    format!(
        "{file}\n[tls]\nlisten = [\"127.0.0.1:0\"]\n[[tls.certificates]]\ncert = \"{}\"\nkey = \"{}\"\n",
        cert.display(),
        key.display()
    )
}

impl Address {
    /// A public address without TLS.
    pub fn of_plain(tcp: SocketAddr) -> Self {
        Self {
            is_websocket: matches!(*VARIANT, Variant::WebSocket | Variant::WebSocketTls),
            is_gzip: is_gzip(),
            ..tcp.into()
        }
    }

    /// A public address with TLS.
    pub fn of_tls(tcp: SocketAddr) -> Self {
        Self {
            is_tls: true,
            ..Self::of_plain(tcp)
        }
    }

    /// The same, for clients that open uncompressed streams over SSE whatever the variant.
    pub fn over_sse(self) -> Self {
        Self {
            is_websocket: false,
            is_gzip: false,
            ..self
        }
    }

    /// What the server calls the transport of these clients' streams.
    pub fn transport(&self) -> &'static str {
        if self.is_websocket { "ws" } else { "sse" }
    }

    /// A metric for this transport.
    pub fn series(&self, name: &str) -> String {
        format!("{name}{{transport=\"{}\"}}", self.transport())
    }
}

/// An address without a transport is plain, and for SSE.
impl From<SocketAddr> for Address {
    fn from(tcp: SocketAddr) -> Self {
        Self {
            tcp,
            is_tls: false,
            is_websocket: false,
            is_gzip: false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tcp.fmt(f)
    }
}
