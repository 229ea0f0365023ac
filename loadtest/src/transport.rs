//! The transport of the clients: event stream or WebSocket.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// Server-Sent Events
    #[default]
    Sse,
    /// WebSocket
    Ws,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sse => "sse",
            Self::Ws => "ws",
        })
    }
}
