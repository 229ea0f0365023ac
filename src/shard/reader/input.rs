//! What a reader concludes, whatever the transport.

use crate::metrics::DisconnectReason;
use crate::tls::Alert;

/// What a client's input means for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Input {
    /// Nothing.
    Nothing,
    /// The client's end, or too much, or what no client sends: it is closed.
    Close(DisconnectReason),
    /// The client broke TLS: it is closed after this alert.
    Break(Alert),
    /// The client has new keys, which a stream cannot follow: it has to come back.
    Return,
}
