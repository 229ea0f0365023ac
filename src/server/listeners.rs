//! The listeners of a server: bound as configured, or passed by a supervisor. Passed sockets replace the
//! configured ones.

use std::os::fd::RawFd;

use super::inherited::{CopiedEndpoint, Inherited, ListenerKey};
use super::{Dev, PassedSockets, ServerError};
use crate::config::{Config, ConfigError, Endpoint};
use crate::net::{self, Listener, SocketOptions};

/// The listeners for clients.
pub(super) struct PublicListeners {
    /// For each endpoint, one listener per shard.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// The endpoints without TLS.
    pub(super) plain: Vec<Endpoint>,
    /// The endpoints with TLS.
    pub(super) tls: Vec<Endpoint>,
    /// Copies, for a process that continues this one.
    pub(super) copies: Vec<CopiedEndpoint>,
}

/// The sockets that replace those that would be bound.
#[derive(Debug, Default)]
pub(super) struct GivenSockets {
    /// From a supervisor.
    pub(super) passed: PassedSockets,
    /// From the process before this one.
    pub(super) inherited: Inherited,
    /// Descriptors that no shard uses, so that their tables need no copies.
    pub(super) unneeded_by_shards: Vec<RawFd>,
}

/// Opens the listeners for clients, `count` per endpoint.
pub(super) fn public(
    config: &Config,
    given: &mut GivenSockets,
    count: usize,
    options: SocketOptions,
) -> Result<PublicListeners, ServerError> {
    let mut named = named(ListenerKey::Public, &config.listen, given, count, options)?;
    let mut encrypted = self::named(ListenerKey::Tls, &config.tls.listen, given, count, options)?;
    let mut copies = copies(ListenerKey::Public, &named)?;
    copies.append(&mut self::copies(ListenerKey::Tls, &encrypted)?);
    let of_encrypted = encrypted.iter_mut().flat_map(|(_, listeners)| listeners);
    of_encrypted.for_each(Listener::require_tls);
    if !encrypted.is_empty() && config.tls.certificates.is_empty() {
        let problem = "is empty, but a socket for TLS was passed (FileDescriptorName=tls)";
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
                "`{wanted}` is not a public listener; use one of: {}",
                listeners.join(", ")
            );
            return Err(ConfigError::key("proxy_protocol", refusal).into());
        }
    }
    let listeners: Vec<_> = named.into_iter().map(|(_, listeners)| listeners).collect();
    let is_tls = |of_one: &&Vec<Listener>| of_one.first().is_some_and(Listener::is_tls);
    Ok(PublicListeners {
        plain: endpoints(listeners.iter().filter(|of_one| !is_tls(of_one)))?,
        tls: endpoints(listeners.iter().filter(is_tls))?,
        listeners,
        copies,
    })
}

impl PassedSockets {
    /// Takes the sockets that replace those of a key.
    fn take(&mut self, key: ListenerKey) -> Vec<std::os::fd::OwnedFd> {
        std::mem::take(match key {
            ListenerKey::Public => &mut self.public,
            ListenerKey::Tls => &mut self.tls,
            ListenerKey::Admin => &mut self.admin,
        })
    }
}

/// Opens the listeners for publishers and operators.
pub(super) fn admin(
    config: &Config,
    given: &mut GivenSockets,
    options: SocketOptions,
) -> Result<(Vec<Vec<Listener>>, Vec<CopiedEndpoint>), ServerError> {
    let named = named(ListenerKey::Admin, &config.admin_listen, given, 1, options)?;
    let copies = copies(ListenerKey::Admin, &named)?;
    let listeners = named.into_iter().map(|(_, listeners)| listeners);
    Ok((listeners.collect(), copies))
}

fn copies(
    key: ListenerKey,
    named: &[(Endpoint, Vec<Listener>)],
) -> Result<Vec<CopiedEndpoint>, ServerError> {
    let numbered = named.iter().enumerate();
    numbered
        .map(|(number, (endpoint, listeners))| {
            CopiedEndpoint::of(key, number, endpoint, listeners).map_err(ServerError::Listen)
        })
        .collect()
}

/// Refuses `--dev` on addresses that other machines can reach, unless `--dev-anywhere` is given.
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
                "is for this machine only, but other machines can reach {endpoint} (listen on 127.0.0.1, or add --dev-anywhere)"
            );
            return Err(ConfigError::key("--dev", problem));
        }
        tracing::warn!(%endpoint, "--dev: other machines can connect");
    }
    Ok(())
}

/// The endpoint of each group of listeners, with the real port in place of port 0.
pub(super) fn endpoints<'a>(
    listeners: impl IntoIterator<Item = &'a Vec<Listener>>,
) -> Result<Vec<Endpoint>, ServerError> {
    listeners
        .into_iter()
        .filter_map(|of_one| of_one.first())
        .map(|listener| listener.endpoint().map_err(ServerError::Listen))
        .collect()
}

/// Opens listeners, each group with its endpoint. Bound ones keep the endpoint of the configuration.
fn named(
    key: ListenerKey,
    configured: &[Endpoint],
    given: &mut GivenSockets,
    count: usize,
    options: SocketOptions,
) -> Result<Vec<(Endpoint, Vec<Listener>)>, ServerError> {
    let failed = |source| ServerError::Bind {
        key: key.name(),
        source,
    };
    let passed = given.passed.take(key).into_iter();
    let passed = passed.map(|fd| net::adopt(fd, count, options));
    // To the process before this one.
    let inherited = given.inherited.take_passed(key).into_iter();
    let inherited = inherited.map(|(_, sockets)| net::inherit(sockets, count, false));
    let adopted: Vec<_> = passed
        .chain(inherited)
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if !adopted.is_empty() {
        return Ok(endpoints(&adopted)?.into_iter().zip(adopted).collect());
    }
    let mut open = |endpoint: &Endpoint| {
        let listeners = match given.inherited.take(key, endpoint) {
            Some(sockets) => net::inherit(sockets, count, true),
            None => net::bind(endpoint, count, options),
        };
        Ok((endpoint.clone(), listeners.map_err(failed)?))
    };
    configured.iter().map(&mut open).collect()
}
