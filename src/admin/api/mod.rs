//! The API for applications.
//!
//! | module | one purpose |
//! |---|---|
//! | [`events`] | publishes one event, or a batch |
//! | [`users`] | who is online, whose session is current, and ending connections |
//! | [`openapi`] | the description of all routes |
//! | [`body`], [`answer`] | what is read and written |

pub(super) mod answer;
pub(super) mod body;
pub(super) mod events;
pub(super) mod openapi;
pub(super) mod users;
