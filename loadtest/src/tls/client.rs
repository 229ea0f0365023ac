//! What all connections of a run share: whom they trust, what they offer, the tickets they have.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};

use super::tickets::Tickets;

/// What a client offers to seal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cipher {
    /// AES-128-GCM, which browsers offer first
    Aes128,
    /// AES-256-GCM
    Aes256,
    /// ChaCha20-Poly1305
    Chacha20,
}

/// Whose certificate is taken.
#[derive(Debug)]
pub(crate) enum Trust {
    /// These certificates' and those that they sign.
    Of(Vec<CertificateDer<'static>>),
    /// Anybody's: nothing is verified.
    Anybody,
}

/// The clients' side of TLS. A copy shares its tickets.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Client {
    /// Clients of `host`, a name or an address. They offer one `cipher`, or all as browsers order them; `tickets`
    /// is how many they keep to resume sessions with.
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

impl Trust {
    /// The certificates in a PEM file.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .with_context(named)?;
        ensure!(
            !certificates.is_empty(),
            "{}: no certificate in it; PEM is expected",
            named()
        );
        Ok(Self::Of(certificates))
    }

    fn verifier(self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        let Self::Of(certificates) = self else {
            return Ok(Arc::new(Unverified(
                provider
                    .signature_verification_algorithms
                    .supported_schemes(),
            )));
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate)?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(verifier.build()?)
    }
}

/// Takes every certificate: the load is pointed at a server that its user chose, and the report says so.
#[derive(Debug)]
struct Unverified(Vec<SignatureScheme>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
