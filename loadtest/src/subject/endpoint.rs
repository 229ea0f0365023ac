//! The listener of a running server, from its URL.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, ensure};

/// A listener.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// True if it uses TLS.
    pub(super) secure: bool,
    /// Its name or address, as in the URL.
    pub(super) host: String,
}

impl Endpoint {
    /// Parses `http://host:port` or `https://host:port`. A remote host must be allowed.
    pub(super) fn resolve(url: &str, allow_remote: bool) -> Result<Self> {
        let (scheme, authority) = url.split_once("://").unwrap_or_default();
        ensure!(
            ["http", "https"].contains(&scheme),
            "{url}: only http:// and https:// are supported"
        );
        let authority = authority.trim_end_matches('/');
        let mut addresses = authority
            .to_socket_addrs()
            .with_context(|| format!("{url}: expected {scheme}://host:port"))?;
        let address = addresses
            .next()
            .with_context(|| format!("{url}: no address"))?;
        ensure!(
            allow_remote || address.ip().is_loopback(),
            "{url} is {address}, another machine: a load test of it needs --allow-remote"
        );
        let (host, _) = authority.rsplit_once(':').unwrap_or((authority, ""));
        Ok(Self {
            address,
            secure: scheme == "https",
            host: host.trim_matches(['[', ']']).to_owned(),
        })
    }

    /// The same for the admin listener, which has no TLS.
    pub(super) fn resolve_plain(url: &str, allow_remote: bool) -> Result<SocketAddr> {
        let endpoint = Self::resolve(url, allow_remote)?;
        ensure!(
            !endpoint.secure,
            "{url}: the admin listener is used without TLS; pass an http:// URL"
        );
        Ok(endpoint.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_target_is_refused_unless_allowed() {
        let resolve = Endpoint::resolve;
        assert!(resolve("http://127.0.0.1:8000/", false).is_ok());
        assert!(resolve("http://[::1]:8000", false).is_ok());
        let refused = resolve("http://192.0.2.1:8000", false)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("--allow-remote"), "{refused}");
        assert!(resolve("http://192.0.2.1:8000", true).is_ok());
        assert!(resolve("ftp://127.0.0.1:8000", false).is_err());
        assert!(resolve("http://127.0.0.1", false).is_err());
    }

    #[test]
    fn the_name_of_a_tls_listener_is_the_urls_host() {
        let named = |url: &str| {
            let endpoint = Endpoint::resolve(url, false).unwrap();
            (endpoint.secure, endpoint.host)
        };
        assert_eq!(
            named("https://localhost:1/"),
            (true, "localhost".to_owned())
        );
        assert_eq!(named("https://[::1]:1"), (true, "::1".to_owned()));
        assert!(Endpoint::resolve_plain("https://127.0.0.1:1", false).is_err());
    }
}
