//! A certificate for a server that is started here.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Characters of a line of PEM.
const LINE_CHARS: usize = 64;

/// A self-signed certificate for this machine, with a P-256 key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Generates one.
    pub(crate) fn for_loopback() -> Result<Self> {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).context("making a certificate")?;
        Ok(Self {
            certificate: cert.into(),
            key: PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into(),
        })
    }

    /// The certificate and its key as PEM texts.
    pub(crate) fn pem(&self) -> (String, String) {
        (
            pem("CERTIFICATE", &self.certificate),
            pem("PRIVATE KEY", self.key.secret_der()),
        )
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(LINE_CHARS) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn its_pem_contains_the_generated_certificate_and_key() {
        let made = Certificate::for_loopback().unwrap();
        let (certificate, key) = made.pem();
        let read = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        assert_eq!(read, made.certificate);
        let read = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        assert_eq!(read, made.key);
        assert!(certificate.lines().all(|line| line.len() <= LINE_CHARS));
    }
}
