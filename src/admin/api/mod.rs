//! The API for applications.
//!
//! | module | one purpose |
//! |---|---|
//! | [`events`], [`draft`] | publishes one event, or a batch; parses an event |
//! | [`nodes`] | the nodes that share the log |
//! | [`id`] | ids of users and sessions in requests |
//! | [`presence`] | who is connected |
//! | [`users`] | session changes, and ending connections |
//! | [`openapi`] | the description of all routes |
//! | [`body`], [`response`] | request bodies and responses |

pub(super) mod body;
mod draft;
pub(super) mod events;
mod id;
pub(super) mod nodes;
pub(super) mod openapi;
pub(super) mod presence;
pub(super) mod response;
pub(super) mod users;
