//! Chooses the certificate of a handshake: the first that is valid for the client's SNI name, otherwise
//! the first of all.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates in force.
#[derive(Debug)]
pub(super) struct CertResolver(ArcSwap<Vec<Arc<CertifiedKey>>>);

impl CertResolver {
    pub(super) fn new(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        Self(ArcSwap::from_pointee(certificates))
    }

    /// Replaces the certificates for new handshakes.
    pub(super) fn replace(&self, certificates: Vec<Arc<CertifiedKey>>) {
        self.0.store(Arc::new(certificates));
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let name = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        name.and_then(|name| certificates.iter().find(|it| is_good_for(it, &name)))
            .or_else(|| certificates.first())
            .cloned()
    }
}

fn is_good_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    certificate
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}
