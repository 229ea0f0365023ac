//! Listening sockets of one process of the server on their way to the next.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::config::Endpoint;
use crate::net::{Listener, ListenerCopy};

/// The configuration key of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ListenerKey {
    Public,
    Tls,
    Admin,
}

impl ListenerKey {
    /// The key in a configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Public => "listen",
            Self::Tls => "tls.listen",
            Self::Admin => "admin_listen",
        }
    }
}

/// The sockets of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndpointName {
    pub(super) key: ListenerKey,
    /// As it was configured: with port 0, if the kernel chose the port.
    pub(super) configured: String,
    /// Its number among the endpoints of the key.
    pub(super) number: usize,
    /// True if a supervisor has bound it. It then replaces what is configured.
    pub(super) is_passed: bool,
}

/// Copies of this process's sockets, for the next.
#[derive(Debug)]
pub(super) struct CopiedEndpoint {
    pub(super) name: EndpointName,
    pub(super) sockets: Vec<ListenerCopy>,
}

/// Sockets of the process before this one.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<(EndpointName, Vec<OwnedFd>)>);

impl CopiedEndpoint {
    /// Copies the sockets of an endpoint.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(super) fn of(
        key: ListenerKey,
        number: usize,
        configured: &Endpoint,
        listeners: &[Listener],
    ) -> io::Result<Self> {
        let sockets = ListenerCopy::of_all(listeners)?;
        Ok(Self {
            name: EndpointName {
                key,
                configured: configured.to_string(),
                number,
                is_passed: sockets.iter().any(ListenerCopy::is_passed),
            },
            sockets,
        })
    }
}

impl Inherited {
    /// Adds sockets of an endpoint.
    pub(super) fn add(&mut self, name: EndpointName, sockets: Vec<OwnedFd>) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, before)) => before.extend(sockets),
            None => self.0.push((name, sockets)),
        }
    }

    /// Takes the sockets that a supervisor has bound for a key.
    pub(super) fn take_passed(&mut self, key: ListenerKey) -> Vec<(EndpointName, Vec<OwnedFd>)> {
        let taken = self
            .0
            .extract_if(.., |(name, _)| name.key == key && name.is_passed);
        taken.collect()
    }

    /// Takes the sockets of a configured endpoint.
    pub(super) fn take(&mut self, key: ListenerKey, configured: &Endpoint) -> Option<Vec<OwnedFd>> {
        let configured = configured.to_string();
        let is_it = |name: &EndpointName| name.key == key && name.configured == configured;
        let at = self.0.iter().position(|(name, _)| is_it(name))?;
        Some(self.0.swap_remove(at).1)
    }
}
