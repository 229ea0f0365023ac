//! The server side of TLS, for the floor and the tests.

use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;

use super::Certificate;

/// TLS 1.3 with a generated certificate. Session tickets are stateless.
pub(crate) fn server_config() -> Result<Arc<ServerConfig>> {
    let made = Certificate::for_loopback()?;
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.certificate], made.key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}
