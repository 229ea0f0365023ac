//! The TLS settings of handshakes: certificates, which can be replaced, and the keys of session tickets.

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
use super::ticket_keys::{PortableTicketKeys, TicketKeys};
use crate::clock::{Clock, millis};
use crate::config;

/// How often the files are checked. Certificates are renewed weeks before they expire.
const WATCH: Duration = Duration::from_secs(10);
/// The only protocol offered, so browsers do not try HTTP/2.
const ALPN: &[u8] = b"http/1.1";
/// Session tickets per handshake: a browser opens few connections here, and each ticket is a record.
const TICKETS: usize = 2;

/// The certificates and ticket keys that new handshakes use.
#[derive(Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    resolver: Arc<CertResolver>,
    provider: Arc<CryptoProvider>,
    /// `None` without session tickets.
    ticket_keys: Option<Arc<TicketKeys>>,
    files: Mutex<Files>,
    clock: Clock,
}

/// Certificates, and the state of their files, to notice when these change.
#[derive(Debug)]
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    files: Files,
}

/// Files, and their stamps when they were read.
#[derive(Debug)]
struct Files {
    certificates: Vec<config::Certificate>,
    stamps: Vec<Option<Stamp>>,
}

/// Identifies a version of a file: device, inode, size, and the last change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// Whether the keys of all connections are written to a file, for a packet sniffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLog {
    /// Never.
    Off,
    /// If `SSLKEYLOGFILE` is set; only for a development server.
    Environment,
}

impl Tls {
    /// Reads the certificates; `None` if none are configured.
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
        #[allow(clippy::expect_used)]
        let ticket_keys = tls.session_tickets.then(|| {
            let keys = TicketKeys::new(clock.clone());
            Arc::new(keys.expect("the system's random numbers do not fail"))
        });
        let server = server_config(ticket_keys.as_ref(), &provider, &resolver, key_log);
        Ok(Some(Self {
            server: Arc::new(server),
            resolver,
            provider,
            ticket_keys,
            files: Mutex::new(files),
            clock,
        }))
    }

    /// The settings for a handshake.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// The keys of session tickets, for another process of the server. `None` without session tickets.
    pub(crate) fn ticket_keys(&self) -> Option<PortableTicketKeys> {
        self.ticket_keys.as_ref().map(|keys| keys.to_portable())
    }

    /// Takes the keys of another process over, so that its tickets are good here.
    pub(crate) fn take_ticket_keys_over(&self, portable: PortableTicketKeys) {
        if let Some(keys) = &self.ticket_keys {
            keys.take_over(portable);
        }
    }

    /// Reads the certificates of a new configuration. `None` if it has none: listeners stay until the
    /// process ends, and keep the certificates that they have.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(&self, tls: &config::Tls) -> Result<Option<Certificates>, TlsError> {
        if tls.certificates.is_empty() {
            return Ok(None);
        }
        Certificates::read(&tls.certificates, &self.provider, &self.clock).map(Some)
    }

    /// Replaces the certificates for new handshakes.
    pub fn replace(&self, certificates: Certificates) {
        let mut files = self.files.lock();
        self.resolver.replace(certificates.keys);
        *files = certificates.files;
    }

    /// Replaces certificates when their files change, until dropped.
    pub async fn watch(&self) {
        let mut last_error = String::new();
        let mut now_ms = self.clock.now_ms();
        loop {
            // Counted from the start of the last check, so that its duration does not add up.
            self.clock.sleep_until(now_ms + millis(WATCH)).await;
            now_ms = self.clock.now_ms();
            self.check_files(&mut last_error);
        }
    }

    /// `last_error` is the last error about the files. It is logged once, but the files are read again each
    /// time: permissions and the time of day change nothing in a stamp.
    fn check_files(&self, last_error: &mut String) {
        let (certificates, before) = {
            let files = self.files.lock();
            (files.certificates.clone(), files.stamps.clone())
        };
        let seen = Files::new(&certificates);
        if seen.stamps == before {
            last_error.clear();
            return;
        }
        match Certificates::read(&certificates, &self.provider, &self.clock) {
            Ok(read) => {
                let mut files = self.files.lock();
                // Not if a reload has configured other files meanwhile; it has read those.
                if files.certificates == certificates {
                    self.resolver.replace(read.keys);
                    *files = read.files;
                    last_error.clear();
                    tracing::info!("certificates were replaced");
                }
            }
            Err(error) if error.to_string() != *last_error => {
                *last_error = error.to_string();
                tracing::error!(%error, "the previous certificates stay in force");
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
        // Before the files are read: a change during the reading counts as a later one.
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

/// AES-128 first: it is strong enough, has the smallest secrets, and is the fastest.
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
    ticket_keys: Option<&Arc<TicketKeys>>,
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
    // Tickets contain what would be stored here.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    if let Some(keys) = ticket_keys {
        server.ticketer = Arc::clone(keys) as _;
        server.send_tls13_tickets = TICKETS;
    }
    if key_log == KeyLog::Environment {
        server.key_log = Arc::new(KeyLogFile::new());
    }
    server
}
