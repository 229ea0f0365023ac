//! The public listener: clients' requests, until they are answered or become a stream.
//!
//! hyper parses requests and sends responses, but it does not serve streams. A request for a stream is
//! checked ([`guide`]), offered to the connection's driver, seated in the shard, and then detached by the
//! driver ([`connection`]). An idle stream therefore holds none of hyper's state.
//!
//! | module | one purpose |
//! |---|---|
//! | [`service`], [`reloadable`] | the state that connections share, and its part that a reload replaces |
//! | [`connection`] | one socket, until a shard holds it or it is closed |
//! | [`requests`] | requests that wait, or move to another process, during an upgrade |
//! | [`routes`], [`router`] | the paths, and the dispatch of requests to them |
//! | [`guide`] | the guide's routes: SSE streams, tickets, the login, the demo page |
//! | [`websocket`] | the route of WebSocket |
//! | [`subscription`], [`offer`] | what a request for a stream asks for, and its way to the driver |
//! | [`identify`], [`denials`] | the identity of a client, and the log lines about failed authentication |
//! | [`refusal`] | the reasons for refusing a stream, and the response for each |
//! | [`address`] | a client's address |
//! | [`cors`] | access for pages of other origins |
//! | [`answer`] | responses that are not streams |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod address;
mod answer;
mod connection;
mod cors;
mod denials;
mod guide;
mod identify;
mod offer;
mod refusal;
mod reloadable;
mod requests;
mod router;
mod routes;
mod service;
mod subscription;
#[cfg(test)]
mod tests;
mod websocket;

pub(crate) use guide::{Demo, Login};
pub use reloadable::Reloadable;
pub(crate) use reloadable::ReloadableError;
pub use service::{Extras, Public};
