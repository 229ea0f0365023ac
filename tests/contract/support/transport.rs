//! The transport of the tests' clients: plain TCP, or TLS if `IDLEWILD_CONTRACT=tls` is set. Tests and
//! expectations are the same for both. Unix sockets and sockets that a supervisor passes always stay
//! plain (supervisor.rs explains why).

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use idlewild::config::{self, Config};

use super::certificate::Certificate;

/// The variable that selects the transport; plain TCP if it is not set.
const VARIABLE: &str = "IDLEWILD_CONTRACT";

static IS_TLS: LazyLock<bool> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
    None => false,
    Some(value) if value == "tls" => true,
    Some(other) => panic!(
        "{VARIABLE}: `{}` is nothing to come over (`tls`, or unset)",
        other.display()
    ),
});

/// The certificate of every server for which a test sets no other.
static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::of(&["localhost", "127.0.0.1"]));

/// The address of a server, and whether it uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub tcp: SocketAddr,
    pub is_tls: bool,
}

pub fn is_tls() -> bool {
    *IS_TLS
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
    pub fn of_tls(tcp: SocketAddr) -> Self {
        Self { tcp, is_tls: true }
    }
}

/// An address without a transport is plain.
impl From<SocketAddr> for Address {
    fn from(tcp: SocketAddr) -> Self {
        Self { tcp, is_tls: false }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tcp.fmt(f)
    }
}
