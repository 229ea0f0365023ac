//! What happened, in order: the ring of events and session changes that engines append to, that
//! delivery reads, and that clients who come back are served from.
//!
//! The log owns positions. An entry is appended once, dispatched once, and then retained while
//! it is young enough and the ring small enough; one that is not kept is gone once dispatched.
//! What is not yet dispatched is never evicted; appending waits instead ([`Log::room`]).
//!
//! | module | one purpose |
//! |---|---|
//! | [`log`] | the log itself |
//! | [`entry`] | one thing that happened |
//! | [`control`] | what every node is asked |
//! | [`ring`] | what is retained, and each client's chain through it |
//! | [`evicted`] | what is remembered of what is not |
//! | [`replay`] | what one client missed, in pieces |

mod control;
mod entry;
mod evicted;
#[allow(clippy::module_inception)] // what the folder is about
mod log;
mod replay;
mod ring;

pub use control::{Control, Receipt};
pub use entry::{Entry, Record};
#[cfg(test)]
pub(crate) use log::MAX_UNDISPATCHED;
pub(crate) use log::{Cursor, Gap};
pub use log::{Joined, Log};
pub use replay::{JoinRequest, PieceLimit, Progress, Replay};
