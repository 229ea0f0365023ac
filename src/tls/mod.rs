//! TLS 1.3 for public listeners. rustls does the handshake. After that the server seals and opens records itself, with
//! [`Secrets`].
//!
//! Older versions and HTTP/2 are left to a proxy in front (docs/tls.md).

mod cert_resolver;
mod certificates;
mod inbound;
mod key_updates;
mod portable;
mod record;
mod secrets;
mod service;
mod ticket_keys;

pub(crate) use inbound::TlsInput;
pub(crate) use key_updates::KeyUpdates;
pub(crate) use portable::PortableSecrets;
pub(crate) use record::{Alert, HEADER_BYTES, MAX_CONTENT_BYTES, Received, record_bytes};
#[cfg(test)]
pub(crate) use secrets::MAX_RECORDS;
pub(crate) use secrets::{Secrets, SecretsMut, SecretsRef, TrafficKeys};
pub(crate) use service::{Certificates, KeyLog, Tls};
pub(crate) use ticket_keys::PortableTicketKeys;
