//! The directory of `history.path`: the database, the session log, the mark, and a lock that keeps a second server out.
//!
//! A session change is written to the session log first, then to the database, and then its number to the mark. If
//! the database cannot be written, the session log alone is enough to accept a change. The database gets it later.
//!
//! | module | one purpose |
//! |---|---|
//! | [`disk`] | the open directory: reads and writes |
//! | [`open`] | opens the directory, on a full disk, too |
//! | [`repair`] | brings the files into agreement at a start |
//! | [`pending`] | session changes that the database does not have yet |
//! | [`lock`], [`space`] | one server per directory; whether the disk is full |

#[allow(clippy::module_inception)] // what the folder is about
mod disk;
mod lock;
mod open;
mod pending;
mod repair;
mod space;

pub(super) use disk::{Disk, Options};
pub(super) use open::Taken;
