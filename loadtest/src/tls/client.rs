//! The TLS settings that all connections of a run share: ciphers, trust, session tickets.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, SupportedCipherSuite};

use super::Trust;
use super::tickets::Tickets;

/// The cipher that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cipher {
    /// AES-128-GCM, which browsers offer first
    Aes128,
    /// AES-256-GCM
    Aes256,
    /// ChaCha20-Poly1305
    Chacha20,
}

/// The TLS settings of the clients. Clones share their tickets.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Client {
    /// Clients of `host`, a name or an address. They offer one `cipher`, or all in the order of browsers, and
    /// keep up to `tickets` session tickets.
    pub(crate) fn new(
        host: &str,
        trust: Trust,
        cipher: Option<Cipher>,
        tickets: Option<usize>,
    ) -> Result<Self> {
        let server = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{host}: neither a name nor an address"))?;
        let offered = cipher.map_or_else(|| Cipher::value_variants().to_vec(), |one| vec![one]);
        let provider = Arc::new(CryptoProvider {
            cipher_suites: offered.into_iter().map(Cipher::suite).collect(),
            ..aws_lc_rs::default_provider()
        });
        let verifier = trust.verifier(&provider)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.enable_secret_extraction = true;
        config.resumption = match tickets {
            Some(most) => Resumption::store(Arc::new(Tickets::new(most))),
            None => Resumption::disabled(),
        };
        Ok(Self {
            config: Arc::new(config),
            server,
        })
    }

    /// A connection before its first message.
    pub(super) fn connect(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.server.clone())
    }
}

impl Cipher {
    fn suite(self) -> SupportedCipherSuite {
        match self {
            Self::Aes128 => TLS13_AES_128_GCM_SHA256,
            Self::Aes256 => TLS13_AES_256_GCM_SHA384,
            Self::Chacha20 => TLS13_CHACHA20_POLY1305_SHA256,
        }
    }
}
