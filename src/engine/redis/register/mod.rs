//! What must be one for all nodes: places of users, tickets, login failures.
//!
//! | module | one purpose |
//! |---|---|
//! | [`register`] | implements the hub's register |
//! | [`reserving`] | reserves places under the limit of all nodes |
//! | [`places`] | who waits for a place, and who has got one |
//! | [`counts`] | states each user's connections in the store, and asks there for places |
//! | [`pace`] | how often the store is asked for places |
//! | [`tickets`] | one-time tickets |
//! | [`failures`] | login failures |
//! | [`elsewhere`] | what the other nodes know about a user |
//! | [`patience`] | how long a request waits for the store |

mod counts;
mod elsewhere;
mod failures;
mod pace;
mod patience;
mod places;
#[allow(clippy::module_inception)] // what the folder is about
mod register;
mod reserving;
mod tickets;

pub(super) use counts::run as count;
pub(super) use places::Places;
pub(super) use register::RedisRegister;
