//! The listeners of a server: bound where the configuration says, or passed by a supervisor, which
//! then decides in its place.

use std::os::fd::OwnedFd;

use super::ServerError;
use crate::config::{Config, ConfigError, Endpoint};
use crate::shard::{self, Listener, SocketOptions};

/// What clients connect to; each endpoint has `count` listeners, one a shard.
pub(super) fn public(
    config: &Config,
    passed: Vec<OwnedFd>,
    count: usize,
    options: SocketOptions,
) -> Result<Vec<Vec<Listener>>, ServerError> {
    let mut named = named("listen", &config.listen, passed, count, options)?;
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
    Ok(named.into_iter().map(|(_, listeners)| listeners).collect())
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

/// Where each of them is; port 0 has become a number.
pub(super) fn endpoints(listeners: &[Vec<Listener>]) -> Result<Vec<Endpoint>, ServerError> {
    listeners
        .iter()
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
            let listeners = shard::bind(endpoint, count, options).map_err(failed)?;
            Ok((endpoint.clone(), listeners))
        };
        return configured.iter().map(bind).collect();
    }
    let adopt = |fd| shard::adopt(fd, count, options).map_err(failed);
    let adopted: Vec<_> = passed.into_iter().map(adopt).collect::<Result<_, _>>()?;
    Ok(endpoints(&adopted)?.into_iter().zip(adopted).collect())
}
