//! `[engine]`: where events are stored. With the memory engine, only `kind` has an effect.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::checks::{at_least, at_most};
use super::choice::choice;
use super::engine_url::EngineUrl;
use super::input_file::InputFile;
use super::secret::Secret;
use super::secret_file::SecretFile;
use super::section::section;
use super::units::{Size, duration_text};

/// Redis repeats the prefix in every key, and the node's name in several, so both stay short.
const NAME_MAX_BYTES: usize = 64;
/// More replicas than this are a mistake: each one delays every event.
const MAX_REPLICAS: u32 = 16;
/// A longer pause would delay events by more than a second.
const MAX_LINGER: Duration = Duration::from_secs(1);
/// Nodes report once a second, so a shorter time would reject streams without a fault.
const MIN_MAX_STALE: Duration = Duration::from_secs(1);
/// A smaller log would hold fewer than 16 events of the largest size that is allowed by default.
const MIN_MAX_BYTES: usize = 1024 * 1024;

section! {
    /// `[engine]`: where events are stored.
    pub struct Engine {
        /// "memory": in this process, one node; or "redis": nodes share one log.
        pub kind: EngineKind = EngineKind::Memory;
        /// The Redis or Valkey server, or its Sentinels (below).
        pub url: EngineUrl = EngineUrl::default();
        /// A file with the password, instead of one in the URL.
        pub password_file: Option<SecretFile> = None;
        /// PEM file of the authorities that sign the server's certificate; "" = the system's.
        pub ca: Option<InputFile> = None, check certificates;
        /// Prefix of all keys in Redis.
        pub prefix: String = "idlewild:".to_owned(), check prefix;
        /// This node's name, unique among the nodes; "" = the host name and a random part.
        pub node: String = String::new(), check node;
        /// Replicas of Redis that must have an event before it is accepted.
        pub replicas: u32 = 0, check at_most(MAX_REPLICAS);
        /// Pause between reads of the log: less load on Redis, later delivery.
        pub linger: Duration = Duration::from_millis(2), check at_most(MAX_LINGER);
        /// Time without contact to Redis after which new streams are rejected; "0s" = never.
        pub max_stale: Duration = Duration::from_secs(30), check max_stale;
        /// "cluster": the limit per user counts the connections to all nodes; or "node": each node counts its own.
        pub limit_scope: LimitScope = LimitScope::Cluster;
        /// Largest size of the log in Redis.
        pub max_bytes: usize as Size = 256 * 1024 * 1024, check at_least(MIN_MAX_BYTES);
    }
}

impl Engine {
    /// The password, from the file or the URL.
    pub fn password(&self) -> Option<&Secret> {
        let file = self.password_file.as_ref().map(SecretFile::secret);
        file.or_else(|| self.url.password())
    }
}

choice! {
    /// The engine that stores events.
    pub enum EngineKind {
        /// This process.
        Memory = "memory",
        /// A Redis stream.
        Redis = "redis",
    }
}

choice! {
    /// Which connections count against the limit per user.
    pub enum LimitScope {
        /// Those to all nodes.
        Cluster = "cluster",
        /// Those to the same node.
        Node = "node",
    }
}

/// Rejects a file without a certificate, with which no server could be trusted.
#[allow(clippy::ref_option)] // as all checks get their value
fn certificates(ca: &Option<InputFile>) -> Result<(), String> {
    let Some(file) = ca else {
        return Ok(());
    };
    let mut certificates = CertificateDer::pem_slice_iter(file.content()).peekable();
    let has_one = certificates.peek().is_some();
    if has_one && certificates.all(|certificate| certificate.is_ok()) {
        return Ok(());
    }
    Err(format!(
        "`{file}` has no certificate in PEM, or a damaged one"
    ))
}

/// Braces would change the slot that Redis Cluster assigns to a key. Spaces would split a key in
/// `redis-cli` and in ACL rules.
#[allow(clippy::ptr_arg)] // as all checks get their value
fn prefix(prefix: &String) -> Result<(), String> {
    let bytes = prefix.len();
    if bytes == 0 {
        return Err("is empty (idlewild:)".to_owned());
    }
    if bytes > NAME_MAX_BYTES {
        return Err(format!(
            "{bytes} bytes long, write at most {NAME_MAX_BYTES} (idlewild:)"
        ));
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '}');
    if prefix.contains(is_odd) {
        return Err(format!(
            "`{prefix}` has a space, a control character or a brace (idlewild:)"
        ));
    }
    Ok(())
}

#[allow(clippy::ptr_arg)] // as all checks get their value
fn node(node: &String) -> Result<(), String> {
    let bytes = node.len();
    if bytes > NAME_MAX_BYTES {
        return Err(format!(
            "{bytes} bytes long, write at most {NAME_MAX_BYTES} (node-1)"
        ));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !node.chars().all(is_allowed) {
        return Err(format!(
            "`{node}` has characters other than A-Z a-z 0-9 . _ - (node-1)"
        ));
    }
    Ok(())
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as all checks get their value
fn max_stale(time: &Duration) -> Result<(), String> {
    if time.is_zero() || *time >= MIN_MAX_STALE {
        return Ok(());
    }
    let (time, least) = (duration_text(*time), duration_text(MIN_MAX_STALE));
    Err(format!(
        "{time}, write at least {least}, or 0s to never reject streams"
    ))
}
