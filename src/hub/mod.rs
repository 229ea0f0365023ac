//! The domain: what happened, who is connected where, and who is told.
//!
//! | module | one purpose |
//! |---|---|
//! | [`outgoing`] | an entry on its way to clients |

mod outgoing;

pub use outgoing::{InFlight, Outgoing};
