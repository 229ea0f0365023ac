//! Where events come from and are kept: the stores that [`Engine`](crate::hub::engine::Engine) asks for.
//!
//! | module | one purpose |
//! |---|---|
//! | [`memory`] | the log and nothing else |
//! | [`durable`] | the log, and a directory that outlives the process |
//! | [`sources`] | a publisher's retry publishes nothing |

mod durable;
mod memory;
mod sources;

pub use durable::DurableEngine;
pub use memory::MemoryEngine;
