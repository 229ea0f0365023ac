//! How a client asks for its stream.

use crate::parse::messages::Dialect;
use crate::template::Template;
use crate::transport::Transport;

/// Path, headers and transport of the clients' requests.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// The path of the stream, which may have a query.
    pub(crate) path: Template,
    /// Headers besides `Host` and those of the token and the transport.
    pub(crate) headers: Vec<(String, Template)>,
    /// How WebSocket messages carry the events; `None` for an event stream.
    pub(crate) messages: Option<Dialect>,
}

impl Way {
    pub(crate) fn transport(&self) -> Transport {
        match self.messages {
            None => Transport::Sse,
            Some(_) => Transport::Ws,
        }
    }

    /// The reason for losing a stream whose connection ended before the stream did.
    pub(super) fn unfinished(&self) -> &'static str {
        match self.messages {
            None => "ended without a terminating chunk",
            Some(_) => "ended without a close frame",
        }
    }
}
