//! Why the server closes a WebSocket, as its client receives it: a code (RFC 6455 §7.4) and a few
//! words. docs/websocket.md lists the codes.

/// A reason of the server to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// The server drains: the client is to come back.
    GoingAway,
    /// An operator ended the connection. It has the code of a drain, because the client may come
    /// back the same way; 1012 would ask it to wait for half a minute.
    Disconnected,
    /// The client broke the protocol.
    ProtocolError,
    /// The client sent text that is not UTF-8.
    NotUtf8,
    /// The client sent more in a minute than is ignored.
    TooManyMessages,
    /// The client sent a message that is longer than [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES).
    MessageTooLong,
    /// The server holds as many clients as it may.
    ServerFull,
    /// The server shuts down, and takes no more clients.
    ShuttingDown,
    /// Whoever knows whether the credential is good does not answer.
    AuthUnavailable,
    /// No credential, or one that is not good.
    Unauthenticated,
    /// The token expired while the client was connected.
    Expired,
    /// The session is over.
    LoggedOut,
    /// A topic that no pattern of the token matches.
    TopicNotAllowed,
    /// The user has as many connections as a user may have.
    TooManyConnections,
    /// A newer connection of the user took this one's place.
    Evicted,
    /// The request asks for something that is not valid, such as a topic's name. It has the general code
    /// (RFC 6455 §7.4.1).
    BadRequest(&'static str),
}

impl CloseCode {
    /// The number.
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

    /// The words.
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
