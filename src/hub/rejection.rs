//! The reasons for not admitting a client.

/// The reason for not admitting a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The server is shutting down.
    Draining,
    /// The server has reached its limit.
    Full,
    /// The session is not the current one, or the token is from before the last change.
    Revoked,
    /// The user has reached their limit.
    Limit,
}
