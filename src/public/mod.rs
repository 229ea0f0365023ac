//! The public listener: clients' requests, until they are answered or become a stream.
//!
//! hyper parses and answers; a stream leaves hyper. A request for one is checked ([`guide`]),
//! offered to the connection's driver, seated in the shard, and then detached by the driver
//! ([`connection`]), so that nothing of hyper idles with it.
//!
//! | module | one purpose |
//! |---|---|
//! | [`service`], [`live`] | what all connections share, and what of it a reload changes |
//! | [`connection`] | one socket, until it is held or closed |
//! | [`routes`], [`router`] | which paths there are, and who answers them |
//! | [`guide`] | the routes: streams, tickets, the login, the demo page |
//! | [`identify`], [`denials`] | who asks, and the log lines about those who are nobody |
//! | [`refusal`] | why a stream is not opened, and what the client is told |
//! | [`address`] | where a client is |
//! | [`cors`] | which pages may read |
//! | [`answer`] | answers that are not streams |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod address;
mod answer;
mod connection;
mod cors;
mod denials;
mod guide;
mod identify;
mod live;
mod refusal;
mod router;
mod routes;
mod service;

pub(crate) use guide::{Demo, Login};
pub use live::Live;
pub(crate) use live::LiveError;
pub use service::{Extras, Public};
