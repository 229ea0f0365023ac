//! The transport of these tests' clients: plain TCP, or TLS with `IDLEWILD_CONTRACT=tls`. The tests and
//! their expectations are the same. Unix sockets and sockets that a supervisor passes stay plain
//! (supervisor.rs explains why).

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use idlewild::config::{self, Config};

use super::certificate::Certificate;

/// What chooses; to be left unset for plain TCP.
const VARIABLE: &str = "IDLEWILD_CONTRACT";

static IS_TLS: LazyLock<bool> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
    None => false,
    Some(value) if value == "tls" => true,
    Some(other) => panic!(
        "{VARIABLE}: `{}` is nothing to come over (`tls`, or unset)",
        other.display()
    ),
});

/// The certificate of every server that a test gives no other.
static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::of(&["localhost", "127.0.0.1"]));

/// Where a server listens, and whether for TLS.
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

/// Gives a server a listener with TLS, whose certificate is written to `directory`.
pub fn add_listener(config: &mut Config, directory: &Path) {
    config.tls.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.tls.certificates = vec![certificate().write(directory, "shared")];
}

/// A configuration file of a server with a listener for these tests' clients.
pub fn with_listener(file: &str, directory: &Path) -> String {
    if is_tls() && !file.contains("\n[tls]\n") {
        with_tls_listener(file, directory)
    } else {
        file.to_owned()
    }
}

/// The same, with TLS whatever the other tests' clients come over.
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

/// What is said of an address and no more is plain.
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
