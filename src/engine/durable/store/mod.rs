//! The database in the directory of `history.path`: SQLite in WAL mode (docs/decisions.md says why).
//!
//! A commit is one transaction. It adds events, publishers' own ids and sessions, and removes rows that the
//! log no longer retains. Rows are numbered in the order of ids without holes, so that "all but the newest n"
//! is a range, and a hole is damage.
//!
//! | module | one purpose |
//! |---|---|
//! | [`database`] | opens it, commits to it, closes it |
//! | [`tables`] | the schema, and the checksums of rows |
//! | [`row`] | rows, and how they are written |
//! | [`reader`] | reads rows that are whole |
//! | [`rebuild`] | builds a new database from what can be read of an old one |
//! | [`error`] | errors of the directory and the database |

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
