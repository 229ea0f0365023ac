//! The log: events and session changes in order. Engines append to it; delivery and the replay for returning
//! clients read from it.
//!
//! The log owns positions. An entry is appended once and dispatched once. If it is kept, it is then retained until
//! it is too old or the log too large; otherwise it is dropped. An entry that is not yet dispatched is never
//! evicted. Publishing waits instead ([`Log::room`]).
//!
//! A shared store can lose its newest entries. Then they are removed from the log, too ([`Log::truncate_after`]).
//!
//! | module | one purpose |
//! |---|---|
//! | [`log`] | the log itself |
//! | [`entry`] | one entry: an event, a session change, a mark or a control entry |
//! | [`control`] | requests to every node |
//! | [`ring`] | the retained entries, and the chains through them |
//! | [`evicted`] | traces of entries that are no longer retained |
//! | [`handover`] | what another process needs to continue the log |
//! | [`replay`] | what one client missed, in pieces |

mod control;
mod entry;
mod evicted;
mod handover;
#[allow(clippy::module_inception)] // what the folder is about
mod log;
mod replay;
mod ring;

pub use control::{Control, Receipt};
pub use entry::{Entry, Record};
pub(crate) use handover::{DispatchedLog, Replayed};
#[cfg(test)]
pub(crate) use log::MAX_UNDISPATCHED;
pub(crate) use log::{Cursor, Gap};
pub use log::{Joined, Log, NotRising};
pub use replay::{JoinRequest, PieceLimit, Progress, Replay};
pub(crate) use ring::Generation;
