//! What must be one for all nodes: places, tickets, login failures.
//!
//! | module | one purpose |
//! |---|---|
//! | [`register`] | implements the hub's register |
//! | [`tickets`] | one-time tickets |
//! | [`failures`] | login failures |
//! | [`elsewhere`] | what the other nodes know about a user |
//! | [`patience`] | how long a request waits for the store |

mod elsewhere;
mod failures;
mod patience;
#[allow(clippy::module_inception)]
mod register;
mod tickets;

pub(super) use register::RedisRegister;
