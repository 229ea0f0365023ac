//! Streams that move to another process during an upgrade: they leave one shard and enter another, on the same sockets.
//!
//! Streams leave while the shards are held ([`Hub::hold`](crate::hub::Hub::hold)): all shards have carried out the same
//! entries then, and the other process, too. It continues each stream after the last of them.
//!
//! | module | one purpose |
//! |---|---|
//! | [`batch`] | several connections as one message |
//! | [`leave`] | taking streams out of a shard |
//! | [`enter`] | putting streams into a shard |
//! | [`passages`] | how the sockets for that get into the shards |

mod batch;
mod enter;
mod leave;
mod passages;

pub(super) use enter::enter;
pub(super) use leave::leave;
pub(crate) use passages::Passages;
