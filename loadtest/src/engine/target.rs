//! The target of a run's clients, and the limits of the run.

use std::time::Duration;

use clap::ValueEnum;

use super::nodes::Nodes;
use super::source::Origin;
use crate::token::Tokens;

/// The target and the request of the clients.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) nodes: Nodes,
    pub(crate) auth: AuthStyle,
    /// True if a PROXY header comes first, before any TLS.
    pub(crate) proxy_protocol: bool,
    pub(crate) tokens: Option<Tokens>,
    /// Users of the connections, in rotation.
    pub(crate) users: u32,
    pub(crate) origin: Origin,
}

/// How a client sends its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthStyle {
    /// `?token=` in the URL
    Query,
    /// `Authorization: Bearer`
    Header,
    /// No token
    None,
}

/// The limits of a run.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) threads: u32,
    /// Open connections.
    pub(crate) connections: u32,
    /// Connections that are not yet streams.
    pub(crate) in_flight: u32,
    /// Connections per second, over all threads.
    pub(crate) rate: Option<f64>,
    /// Time limit of a handshake.
    pub(crate) handshake: Duration,
    /// Percentage of clients that read only the head of their stream.
    pub(crate) deaf_per_cent: u32,
}

impl Target {
    /// Returns true if connection `number` belongs to `user`, a user's id in an event.
    pub(super) fn is_user(&self, number: u32, user: &str) -> bool {
        match &self.tokens {
            Some(tokens) => tokens.is_user(number, user),
            None => user.parse() == Ok(number % self.users),
        }
    }

    /// The id of the user with this number; `None` if a token file does not name it.
    pub(crate) fn user(&self, number: u32) -> Option<String> {
        match &self.tokens {
            Some(tokens) => tokens.user(number),
            None => Some((number % self.users).to_string()),
        }
    }
}

impl Limits {
    /// Returns true if connection `number` never reads. Such connections are spread evenly.
    pub(crate) fn is_deaf(&self, number: u32) -> bool {
        let deaf_below = |number: u64| number * u64::from(self.deaf_per_cent) / 100;
        deaf_below(u64::from(number) + 1) > deaf_below(number.into())
    }

    /// The number of readers among the first `connections`.
    pub(crate) fn reading(&self, connections: u32) -> u32 {
        let deaf = u64::from(connections) * u64::from(self.deaf_per_cent) / 100;
        connections - u32::try_from(deaf).unwrap_or(connections)
    }
}

#[cfg(test)]
impl Limits {
    /// Limits for a test in which this percentage of clients never reads.
    pub(crate) fn reading_but(deaf_per_cent: u32) -> Self {
        Self {
            threads: 1,
            connections: 1_000,
            in_flight: 1,
            rate: None,
            handshake: Duration::ZERO,
            deaf_per_cent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_never_read_have_the_requested_share_and_are_spread_evenly() {
        let limits = Limits::reading_but(10);
        let deaf: Vec<u32> = (0..1_000)
            .filter(|&number| limits.is_deaf(number))
            .collect();
        assert_eq!(deaf.len(), 100);
        assert!(deaf.windows(2).all(|pair| pair[1] - pair[0] == 10));
        assert_eq!(limits.reading(1_000), 900);
        assert_eq!(limits.reading(5), 5);
    }
}
