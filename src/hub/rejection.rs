//! Why a client is not let in.

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The server is going down.
    Draining,
    /// The server holds all it may.
    Full,
    /// The session is not the current one, or the token is from before the last change.
    Revoked,
    /// The user holds all they may.
    Limit,
}
