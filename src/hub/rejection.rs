//! The reasons for not admitting a client.

/// The reason for not admitting a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The server is shutting down.
    Draining,
    /// The server has reached its limit.
    Full,
    /// This node has had no contact with the store of all nodes for too long, so it does not know who is allowed.
    Stale,
    /// The session is not the current one, or the token is from before the last change.
    Revoked,
    /// The user has reached their limit.
    Limit,
}
