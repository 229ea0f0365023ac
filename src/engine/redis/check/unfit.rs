//! Why the server cannot be used as it is configured.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError};
use rustls::CertificateError;

use crate::engine::redis::link::ServerAddress;
use crate::engine::redis::loss::Loss;

/// Why the server cannot be used as it is configured: the key, the problem and what to do. The text shows no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(
        "engine.url: the Sentinels know no master named `{0}` (write the name in their configuration)"
    )]
    NoMaster(Box<str>),
    #[error("engine.url: no Sentinel answers: {0}")]
    NoSentinel(String),
    #[error(
        "engine.url: the cluster has no server for the log (CLUSTER SLOTS lists no slot 10591)"
    )]
    NoOwner,
    #[error("engine.url: {0} belongs to a Redis Cluster (write redis+cluster://)")]
    Clustered(String),
    #[error("engine.url: {0} belongs to no Redis Cluster (write redis://)")]
    NotClustered(String),
    #[error("engine.url: cannot connect to {0}: {1}")]
    Unreachable(String, String),
    #[error("engine.url: {0} closed the connection (if it expects TLS, write rediss://)")]
    Closed(String),
    #[error("engine.url: {0} does not speak TLS (name its TLS port, or write redis://)")]
    NotTls(String),
    #[error("engine.url: {0} does not answer (if it does not speak TLS there, write redis://)")]
    SilentTls(String),
    #[error(
        "engine.ca: the certificate of {0} is signed by no known authority (name the PEM file of the one that signed it)"
    )]
    UnknownAuthority(String),
    #[error(
        "engine.url: the certificate of {0} is not valid for that name (write a name that is in the certificate)"
    )]
    OtherName(String),
    #[error("engine.url: the certificate of {0} cannot be accepted: {1}")]
    Certificate(String, String),
    #[error("engine.ca: has no usable certificate: {0}")]
    Ca(String),
    #[error(
        "engine.password_file: {0} rejects the user or the password (compare with ACL LIST there)"
    )]
    Login(String),
    #[error("engine.password_file: {0} expects a password, and none is set")]
    NoPassword(String),
    #[error("engine.url: {0} does not allow its database: {1}")]
    Database(String, String),
    #[error("engine.url: {0} does not take requests: {1}")]
    Refusing(String, String),
    #[error("engine.url: {0} is a replica (name the master, or Sentinels)")]
    Replica(String),
    #[error("engine.url: {0}; Redis 7.0, or any Valkey, is needed")]
    Old(String),
    #[error("engine.url: the user lacks the rights {0} (ACL SETUSER {1} {0})")]
    Rights(String, String),
    #[error("engine.prefix: the user may not use keys with this prefix (ACL SETUSER {1} ~{0}*)")]
    Keys(String, String),
    #[error("engine.url: the server has no {0} (it is renamed or turned off there)")]
    NoCommand(String),
    #[error(
        "engine.url: maxmemory-policy is {0}, which may evict the whole log (CONFIG SET maxmemory-policy noeviction)"
    )]
    Policy(String),
}

impl Unfit {
    /// The reason for which no address was found.
    pub(super) fn unresolved(loss: Loss) -> Self {
        match loss {
            Loss::NoMaster(name) => Self::NoMaster(name),
            loss => Self::NoSentinel(loss.to_string()),
        }
    }

    /// The reason for which no connection was made, or the next command failed.
    pub(super) fn of(error: &RedisError, address: &ServerAddress) -> Self {
        let is_tls = matches!(address, ServerAddress::Tcp { is_tls: true, .. });
        let address = address.to_string();
        if let Some(error) = io_error(error) {
            return match error.kind() {
                // A server that does not speak TLS waits for the rest of the handshake.
                io::ErrorKind::TimedOut if is_tls => Self::SilentTls(address),
                _ => Self::of_io(error, address),
            };
        }
        let detail = error.detail().unwrap_or_default();
        match (error.kind(), error.code().unwrap_or_default()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS") => Self::Login(address),
            (_, "NOAUTH") => Self::NoPassword(address),
            (_, "ERR") if detail.contains("Authentication required") => Self::NoPassword(address),
            (_, "ERR") if error.to_string().contains("database") => {
                Self::Database(address, detail.to_owned())
            }
            (_, "READONLY") => Self::Replica(address),
            (_, "") => Self::Unreachable(address, error.to_string()),
            (_, code) => Self::Refusing(address, format!("{code} {detail}")),
        }
    }

    fn of_io(error: &io::Error, address: String) -> Self {
        let tls = error.get_ref().and_then(|it| it.downcast_ref());
        match tls {
            Some(rustls::Error::InvalidCertificate(problem)) => match problem {
                // Another authority of the same name has signed nothing of it.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownAuthority(address)
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::OtherName(address),
                problem => Self::Certificate(address, problem.to_string()),
            },
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls(address),
            Some(problem) => Self::Unreachable(address, problem.to_string()),
            None if is_closed(error.kind()) => Self::Closed(address),
            // The crate reports a file that it cannot parse like this.
            None if error.to_string().contains("Unable to parse") => Self::Ca(error.to_string()),
            None => Self::Unreachable(address, error.to_string()),
        }
    }
}

fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// The crate shares its causes, so the source is not the error itself.
fn io_error(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    let shared = source.downcast_ref::<Arc<dyn Error + Send + Sync>>();
    shared.map_or_else(|| source.downcast_ref(), |shared| shared.downcast_ref())
}
