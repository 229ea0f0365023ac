//! The reasons for which the server closes a WebSocket: a code (RFC 6455 §7.4) and a short text.
//! docs/websocket.md lists the codes.

/// A reason to close a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// The server drains; the client should reconnect.
    GoingAway,
    /// An operator ended the connection. The code is that of a drain, because the client may
    /// reconnect in the same way. 1012 would ask it to wait for half a minute.
    Disconnected,
    /// The client violated the protocol.
    ProtocolError,
    /// The client sent text that is not UTF-8.
    NotUtf8,
    /// The client sent more in a minute than the server ignores.
    TooManyMessages,
    /// The client sent a message that is longer than [`MAX_MESSAGE_BYTES`](super::reader::MAX_MESSAGE_BYTES).
    MessageTooLong,
    /// The server has reached its limit of clients.
    ServerFull,
    /// The server is shutting down and admits no more clients.
    ShuttingDown,
    /// The credential cannot be checked now, because the application or the key server does not respond.
    AuthUnavailable,
    /// No valid credential.
    Unauthenticated,
    /// The token expired while the client was connected.
    Expired,
    /// The session is over.
    LoggedOut,
    /// The token does not allow a topic.
    TopicNotAllowed,
    /// The user has reached the limit of connections.
    TooManyConnections,
    /// A newer connection of the user took this one's place.
    Evicted,
    /// The request is not valid, for example because of a topic's name. The code is the general one
    /// (RFC 6455 §7.4.1).
    BadRequest(&'static str),
}

impl CloseCode {
    /// The number of the code.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::GoingAway | Self::Disconnected => 1001,
            Self::ProtocolError => 1002,
            Self::NotUtf8 => 1007,
            Self::TooManyMessages | Self::BadRequest(_) => 1008,
            Self::MessageTooLong => 1009,
            Self::ServerFull | Self::ShuttingDown | Self::AuthUnavailable => 1013,
            Self::Unauthenticated | Self::Expired => 4001,
            Self::LoggedOut => 4003,
            Self::TopicNotAllowed => 4004,
            Self::TooManyConnections | Self::Evicted => 4029,
        }
    }

    /// The text.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "Going away",
            Self::Disconnected => "Disconnected",
            Self::ProtocolError => "Protocol error",
            Self::NotUtf8 => "Text is not UTF-8",
            Self::TooManyMessages => "Too many messages",
            Self::MessageTooLong => "Message too long",
            Self::ServerFull => "Server full",
            Self::ShuttingDown => "Shutting down",
            Self::AuthUnavailable => "Authentication unavailable",
            Self::Unauthenticated => "Authentication required",
            Self::Expired => "Token expired",
            Self::LoggedOut => "Logged out",
            Self::TopicNotAllowed => "Topic not allowed",
            Self::TooManyConnections => "Too many connections",
            Self::Evicted => "Evicted",
            Self::BadRequest(reason) => reason,
        }
    }
}
