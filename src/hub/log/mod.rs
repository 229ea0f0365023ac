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
//! | [`log`] | the log itself: its operations, and who waits for what |
//! | [`state`] | what its lock protects: retained entries, those that wait for dispatch, the ids reached |
//! | [`join`] | which last ids are known, whether there is a gap, and what a client has missed since its own |
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
mod join;
#[allow(clippy::module_inception)] // what the folder is about
mod log;
mod replay;
mod ring;
mod state;

pub use control::{Control, Receipt};
pub use entry::{Entry, Record};
pub(crate) use handover::{DispatchedLog, Replayed};
pub(crate) use join::Gap;
pub use join::Joined;
pub(crate) use log::Cursor;
pub use log::{Log, NotRising};
pub use replay::{JoinRequest, PieceLimit, Progress, Replay};
pub(crate) use ring::Generation;
#[cfg(test)]
pub(crate) use state::MAX_UNDISPATCHED;
