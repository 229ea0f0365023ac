//! What handshakes are made with, for as long as the process lives: certificates that may be
//! replaced, and the keys of session tickets, which rotate by themselves.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{KeyLogFile, version};

use super::cert_resolver::CertResolver;
use super::certificates::{self, TlsError};
use crate::clock::{Clock, millis};
use crate::config;

/// How often the files are looked at. A certificate is renewed weeks before its end.
const WATCH: Duration = Duration::from_secs(10);
/// The only protocol here. Browsers that get it do not try HTTP/2.
const ALPN: &[u8] = b"http/1.1";
/// A browser opens few connections to a server of streams; each ticket is a record more.
const TICKETS: usize = 2;

/// The certificates and ticket keys that new handshakes use.
#[derive(Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    resolver: Arc<CertResolver>,
    provider: Arc<CryptoProvider>,
    files: Mutex<Files>,
    clock: Clock,
}

/// Certificates that were read, and how to tell when their files are others.
#[derive(Debug)]
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    files: Files,
}

/// Files, and what they looked like when they were read.
#[derive(Debug)]
struct Files {
    certificates: Vec<config::Certificate>,
    stamps: Vec<Option<Stamp>>,
}

/// What tells a file from what it was before: device, inode, size, and the last change in seconds
/// and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// Who may write down the keys of all connections, for a sniffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLog {
    /// Nobody.
    Off,
    /// Whoever sets `SSLKEYLOGFILE` for a development server.
    Environment,
}

impl Tls {
    /// Reads the certificates. `None` where the configuration names none.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(tls: &config::Tls, key_log: KeyLog, clock: Clock) -> Result<Option<Self>, TlsError> {
        if tls.certificates.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(provider());
        let Certificates { keys, files } =
            Certificates::read(&tls.certificates, &provider, &clock)?;
        let resolver = Arc::new(CertResolver::new(keys));
        let server = server_config(tls, &provider, &resolver, key_log);
        Ok(Some(Self {
            server: Arc::new(server),
            resolver,
            provider,
            files: Mutex::new(files),
            clock,
        }))
    }

    /// For a handshake.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Reads the certificates of another configuration. `None` where it names none: listeners go
    /// only with the process, and need those that they have.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(&self, tls: &config::Tls) -> Result<Option<Certificates>, TlsError> {
        if tls.certificates.is_empty() {
            return Ok(None);
        }
        Certificates::read(&tls.certificates, &self.provider, &self.clock).map(Some)
    }

    /// Handshakes from now on are made with these.
    pub fn replace(&self, certificates: Certificates) {
        let mut files = self.files.lock();
        self.resolver.replace(certificates.keys);
        *files = certificates.files;
    }

    /// Takes over certificates whose files were replaced, until it is dropped.
    pub async fn watch(&self) {
        let mut said = String::new();
        let mut now_ms = self.clock.now_ms();
        loop {
            // From the reading before the last look, not from when that was done.
            self.clock.sleep_until(now_ms + millis(WATCH)).await;
            now_ms = self.clock.now_ms();
            self.look(&mut said);
        }
    }

    /// `said` is what was wrong with the files before: it is said once, and looked at again, since
    /// who may read a file and what time it is change nothing that can be seen of it.
    fn look(&self, said: &mut String) {
        let (certificates, before) = {
            let files = self.files.lock();
            (files.certificates.clone(), files.stamps.clone())
        };
        let seen = Files::new(&certificates);
        if seen.stamps == before {
            said.clear();
            return;
        }
        match Certificates::read(&certificates, &self.provider, &self.clock) {
            Ok(read) => {
                let mut files = self.files.lock();
                // A reload meanwhile has named others, and read them.
                if files.certificates == certificates {
                    self.resolver.replace(read.keys);
                    *files = read.files;
                    said.clear();
                    tracing::info!("certificates were replaced");
                }
            }
            Err(error) if error.to_string() != *said => {
                *said = error.to_string();
                tracing::error!(%error, "the certificates before stay in force");
            }
            Err(_) => {}
        }
    }
}

impl Certificates {
    fn read(
        certificates: &[config::Certificate],
        provider: &CryptoProvider,
        clock: &Clock,
    ) -> Result<Self, TlsError> {
        // Before the files are read: a change meanwhile is one to come.
        let files = Files::new(certificates);
        let keys = certificates::read(certificates, provider, clock.unix_ms() / 1_000)?;
        Ok(Self { keys, files })
    }
}

impl Files {
    fn new(certificates: &[config::Certificate]) -> Self {
        let paths = certificates.iter().flat_map(|it| [&it.cert, &it.key]);
        Self {
            stamps: paths.map(|path| stamp(path).ok()).collect(),
            certificates: certificates.to_vec(),
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = fs::metadata(path)?;
    Ok((
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
    ))
}

/// AES-128 first: its secrets are the smallest and it is the fastest, by far strong enough.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

#[allow(clippy::expect_used)]
fn server_config(
    tls: &config::Tls,
    provider: &Arc<CryptoProvider>,
    resolver: &Arc<CertResolver>,
    key_log: KeyLog,
) -> ServerConfig {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has ciphers of TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(resolver) as _);
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.ignore_client_order = true;
    server.enable_secret_extraction = true;
    // What would be stored here is in the tickets.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    if tls.session_tickets {
        server.ticketer =
            aws_lc_rs::Ticketer::new().expect("the system's random numbers do not fail");
        server.send_tls13_tickets = TICKETS;
    }
    if key_log == KeyLog::Environment {
        server.key_log = Arc::new(KeyLogFile::new());
    }
    server
}
