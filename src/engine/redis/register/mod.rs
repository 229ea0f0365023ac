//! What must be one for all nodes: places, tickets, login failures.
//!
//! | module | one purpose |
//! |---|---|
//! | [`register`] | implements the hub's register |

#[allow(clippy::module_inception)]
mod register;

pub(super) use register::RedisRegister;
