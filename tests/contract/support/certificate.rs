//! Self-signed certificates, generated on demand.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use idlewild::config;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

pub struct Certificate {
    pub der: CertificateDer<'static>,
    pub cert_pem: String,
    pub key_pem: String,
}

impl Certificate {
    /// A certificate for these names, without an expiry.
    pub fn of(names: &[&str]) -> Self {
        Self::with(names, |_| {})
    }

    pub fn with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            der: cert.der().clone(),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Writes `{name}.pem` and `{name}.key.pem`, the names that the configuration uses.
    pub fn write(&self, directory: &Path, name: &str) -> config::Certificate {
        let files = config::Certificate {
            cert: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key.pem")),
        };
        fs::write(&files.cert, &self.cert_pem).unwrap();
        fs::write(&files.key, &self.key_pem).unwrap();
        files
    }

    /// A client that trusts only this certificate and does not resume sessions.
    pub fn client(&self) -> ClientConfig {
        self.client_of(&[&version::TLS13])
    }

    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        client
    }
}
