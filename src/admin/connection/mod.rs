//! Admin connections, from accept to close.
//!
//! | module | one purpose |
//! |---|---|
//! | [`acceptor`] | accepts connections |
//! | [`open_connections`] | limits their number and chooses which one to close |
//! | [`serve`] | serves one connection, from its first request to its end |
//! | [`repoller`] | lets a connection's task run on when it wakes itself |
//! | [`passing`] | connections that another process of the server continues |
//! | [`admin_connection`] | the state of one connection |

mod acceptor;
mod admin_connection;
mod open_connections;
mod passing;
mod repoller;
mod serve;

pub(crate) use acceptor::serve;
pub(super) use admin_connection::AdminConnection;
pub(super) use open_connections::OpenConnections;
pub(crate) use passing::PassedConnection;
pub(super) use passing::Passing;
pub(crate) use serve::continue_connection;
