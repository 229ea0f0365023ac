//! The route of WebSocket (RFC 6455).
//!
//! | module | one purpose |
//! |---|---|
//! | [`upgrade`] | a request for a stream over WebSocket |
//! | [`handshake`] | the checks and the response of the opening handshake |
//! | [`origin`] | which pages may use a visitor's cookies |

mod handshake;
mod origin;
mod upgrade;

pub(super) use upgrade::answer;
