//! The results of a reader, for every transport.

use crate::metrics::DisconnectReason;
use crate::tls::Alert;
use crate::wire::websocket::Closing;

/// The consequence of a client's input for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Input {
    /// None.
    Nothing,
    /// There may be more, which is read in a later turn.
    More,
    /// The client has closed its side, sent too much, or sent what no client sends: the connection is closed.
    Close(DisconnectReason),
    /// The client has ended its WebSocket, or broken its protocol.
    End(Closing),
    /// The client violated TLS: the connection is closed after this alert.
    Break(Alert),
    /// The client has new keys, which a stream cannot use: the client has to come back.
    Return,
}

impl Input {
    /// Returns true if the client may receive an answer to it.
    pub(super) fn has_answer(self) -> bool {
        matches!(self, Self::Nothing | Self::More | Self::End(_))
    }
}
