//! Reads certificates and their keys from the configured files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use thiserror::Error;
use x509_cert::der::Decode;

use crate::config;

/// Why the files that `[tls]` names cannot be used, in one line: key, file, problem and remedy.
#[derive(Debug, Error)]
#[error("tls.certificates[{index}]: {problem}")]
pub struct TlsError {
    index: usize,
    problem: Problem,
}

impl From<TlsError> for config::ConfigError {
    fn from(error: TlsError) -> Self {
        Self::content(error)
    }
}

#[derive(Debug, Error)]
enum Problem {
    #[error("{}: {} (name a PEM file of the chain, the server's own certificate first)", .path.display(), describe(.problem))]
    Chain { path: PathBuf, problem: pem::Error },
    #[error("{}: {} (name a PEM file of the private key, without a passphrase)", .path.display(), describe(.problem))]
    Key { path: PathBuf, problem: pem::Error },
    #[error("{}: holds no certificate (name a PEM file of the chain)", .0.display())]
    Empty(PathBuf),
    #[error("{}: is not a certificate (the first in the file has to be the server's own)", .0.display())]
    Malformed(PathBuf),
    #[error("{}: has expired at {at} (renew it)", .path.display())]
    Expired { path: PathBuf, at: String },
    #[error("{}: is not valid before {at} (is the clock right?)", .path.display())]
    NotYet { path: PathBuf, at: String },
    #[error("{} is not the key of {} (name the two files that were issued together)", .key.display(), .cert.display())]
    Mismatch { key: PathBuf, cert: PathBuf },
    #[error("{}: {problem} (use an ECDSA, Ed25519 or RSA key)", .path.display())]
    Unusable { path: PathBuf, problem: Error },
}

/// Describes an error in words: the library's messages show bytes as numbers.
fn describe(problem: &pem::Error) -> String {
    match problem {
        pem::Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(end_marker);
            format!("is cut off before `-----END {marker}-----`")
        }
        pem::Error::IllegalSectionStart { .. } => "has a `-----BEGIN` line that is broken".into(),
        pem::Error::NoItemsFound => "holds no private key".into(),
        problem => problem.to_string(),
    }
}

/// Reads all certificates; each must be valid at `unix_s`.
///
/// # Errors
/// [`TlsError`] about the first certificate that cannot be used.
pub(super) fn read(
    certificates: &[config::Certificate],
    provider: &CryptoProvider,
    unix_s: u64,
) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    let read = |(index, files)| {
        read_one(files, provider, unix_s)
            .map(Arc::new)
            .map_err(|problem| TlsError { index, problem })
    };
    certificates.iter().enumerate().map(read).collect()
}

fn read_one(
    files: &config::Certificate,
    provider: &CryptoProvider,
    unix_s: u64,
) -> Result<CertifiedKey, Problem> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|problem| Problem::Chain {
            path: files.cert.clone(),
            problem,
        })?;
    let own = chain
        .first()
        .ok_or_else(|| Problem::Empty(files.cert.clone()))?;
    check_validity(own, &files.cert, unix_s)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|problem| Problem::Key {
        path: files.key.clone(),
        problem,
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|problem| match problem {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Problem::Mismatch {
            key: files.key.clone(),
            cert: files.cert.clone(),
        },
        Error::InvalidCertificate(_) => Problem::Malformed(files.cert.clone()),
        problem => Problem::Unusable {
            path: files.key.clone(),
            problem,
        },
    })
}

fn check_validity(own: &CertificateDer<'_>, path: &Path, unix_s: u64) -> Result<(), Problem> {
    let parsed =
        x509_cert::Certificate::from_der(own).map_err(|_| Problem::Malformed(path.to_owned()))?;
    let validity = parsed.tbs_certificate().validity();
    if unix_s > validity.not_after.to_unix_duration().as_secs() {
        return Err(Problem::Expired {
            path: path.to_owned(),
            at: validity.not_after.to_string(),
        });
    }
    if unix_s < validity.not_before.to_unix_duration().as_secs() {
        return Err(Problem::NotYet {
            path: path.to_owned(),
            at: validity.not_before.to_string(),
        });
    }
    Ok(())
}
