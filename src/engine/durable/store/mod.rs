//! The database in the directory of `history.path`: SQLite in WAL mode (docs/decisions.md says why).
//!
//! A commit is one transaction: events, the publishers' own ids, sessions, and the rows that the
//! log no longer retains. Rows are numbered in the order of ids without holes, so that "all but
//! the newest n" is a range, and a hole is damage.
//!
//! | module | one purpose |
//! |---|---|
//! | [`database`] | opens it, commits to it, closes it |
//! | [`tables`] | what the tables are, and a row's checksum |
//! | [`row`] | rows as they are written |
//! | [`reader`] | reads rows that are whole |
//! | [`rebuild`] | makes a new database of what can be read of an old one |
//! | [`error`] | why the directory cannot be used |

mod database;
mod error;
mod reader;
mod rebuild;
mod row;
mod tables;

#[cfg(test)]
pub(super) use database::FIRST_VERSION;
pub(super) use database::{Retention, Store, changes, open_unwritable};
pub(super) use error::{Fault, StoreError};
pub(super) use reader::{Reader, Verified};
pub(super) use rebuild::{LoggedOut, finish, rebuild};
pub(super) use row::Row;
pub(super) use tables::{DATABASE, FORMAT, StoreState};
