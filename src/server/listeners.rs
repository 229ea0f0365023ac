//! The listeners of a server: bound where the configuration says, or passed by a supervisor, which
//! then decides in its place.

use std::os::fd::OwnedFd;

use super::{Dev, ServerError};
use crate::config::{Config, ConfigError, Endpoint};
use crate::net::{self, Listener, SocketOptions};

/// What clients connect to.
pub(super) struct Public {
    /// For each endpoint, one listener a shard.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// Where those without TLS are.
    pub(super) plain: Vec<Endpoint>,
    /// Where those with TLS are.
    pub(super) tls: Vec<Endpoint>,
}

/// What clients connect to; each endpoint has `count` listeners.
pub(super) fn public(
    config: &Config,
    passed: Vec<OwnedFd>,
    passed_tls: Vec<OwnedFd>,
    count: usize,
    options: SocketOptions,
) -> Result<Public, ServerError> {
    let mut named = named("listen", &config.listen, passed, count, options)?;
    let mut encrypted = self::named("tls.listen", &config.tls.listen, passed_tls, count, options)?;
    let of_encrypted = encrypted.iter_mut().flat_map(|(_, listeners)| listeners);
    of_encrypted.for_each(Listener::require_tls);
    if !encrypted.is_empty() && config.tls.certificates.is_empty() {
        let problem = "is empty, and a socket for TLS was passed (FileDescriptorName=tls)";
        return Err(ConfigError::key("tls.certificates", problem).into());
    }
    named.append(&mut encrypted);
    for wanted in &config.proxy_protocol {
        let mut is_there = false;
        for (_, listeners) in named.iter_mut().filter(|(endpoint, _)| endpoint == wanted) {
            is_there = true;
            listeners
                .iter_mut()
                .for_each(Listener::require_proxy_header);
        }
        if !is_there {
            let listeners: Vec<_> = named.iter().map(|(there, _)| there.to_string()).collect();
            let refusal = format!(
                "`{wanted}` is no public listener, write it as it stands there: {}",
                listeners.join(", ")
            );
            return Err(ConfigError::key("proxy_protocol", refusal).into());
        }
    }
    let listeners: Vec<_> = named.into_iter().map(|(_, listeners)| listeners).collect();
    let is_tls = |of_one: &&Vec<Listener>| of_one.first().is_some_and(Listener::is_tls);
    Ok(Public {
        plain: endpoints(listeners.iter().filter(|of_one| !is_tls(of_one)))?,
        tls: endpoints(listeners.iter().filter(is_tls))?,
        listeners,
    })
}

/// What publishers and operators connect to.
pub(super) fn admin(
    config: &Config,
    passed: Vec<OwnedFd>,
    options: SocketOptions,
) -> Result<Vec<Vec<Listener>>, ServerError> {
    let named = named("admin_listen", &config.admin_listen, passed, 1, options)?;
    Ok(named.into_iter().map(|(_, listeners)| listeners).collect())
}

/// Refuses `--dev` where other machines can connect, unless that was asked for.
pub(super) fn check_reach<'a>(
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
    dev: Dev,
) -> Result<(), ConfigError> {
    for endpoint in endpoints {
        let Endpoint::Tcp(address) = endpoint else {
            continue;
        };
        if address.ip().to_canonical().is_loopback() {
            continue;
        }
        if !dev.anywhere {
            let problem = format!(
                "is for this machine alone, and other machines reach {endpoint} (listen on 127.0.0.1, or add --dev-anywhere)"
            );
            return Err(ConfigError::key("--dev", problem));
        }
        tracing::warn!(%endpoint, "--dev where other machines can connect");
    }
    Ok(())
}

/// Where each of them is; port 0 has become a number.
pub(super) fn endpoints<'a>(
    listeners: impl IntoIterator<Item = &'a Vec<Listener>>,
) -> Result<Vec<Endpoint>, ServerError> {
    listeners
        .into_iter()
        .filter_map(|of_one| of_one.first())
        .map(|listener| listener.endpoint().map_err(ServerError::Listen))
        .collect()
}

/// The listeners with the endpoint that the configuration knows them by.
fn named(
    key: &'static str,
    configured: &[Endpoint],
    passed: Vec<OwnedFd>,
    count: usize,
    options: SocketOptions,
) -> Result<Vec<(Endpoint, Vec<Listener>)>, ServerError> {
    let failed = |source| ServerError::Bind { key, source };
    if passed.is_empty() {
        let bind = |endpoint: &Endpoint| {
            let listeners = net::bind(endpoint, count, options).map_err(failed)?;
            Ok((endpoint.clone(), listeners))
        };
        return configured.iter().map(bind).collect();
    }
    let adopt = |fd| net::adopt(fd, count, options).map_err(failed);
    let adopted: Vec<_> = passed.into_iter().map(adopt).collect::<Result<_, _>>()?;
    Ok(endpoints(&adopted)?.into_iter().zip(adopted).collect())
}
