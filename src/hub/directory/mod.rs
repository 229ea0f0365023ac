//! The directory: each user's connections, current session, and the time before which tokens are refused.
//!
//! It has 256 mutexes, chosen by the user's hash. Admission (session, limit, insert) is one critical section, and
//! so is removal. A connection is removed exactly once, by the first caller that sees it end. Users are interned:
//! a slot holds a 4-byte [`UserHandle`]. A user without connections and without a session to remember costs
//! nothing.
//!
//! | module | one purpose |
//! |---|---|
//! | [`directory`] | the directory itself |
//! | [`stripe`] | a part of it, with a lock of its own |
//! | [`handle`] | what refers to a user |
//! | [`user`] | one user's connections, and which give way at the limit |
//! | [`standing`] | one user's session changes, and which tokens they allow |
//! | [`standings`] | the standings of many users, until nothing depends on them |
//! | [`everyone`] | a log-out of all users |
//! | [`questions`] | which users' connections were asked recently whether they are alive |
//! | [`name`], [`digest`] | compact forms of user ids and session names |

mod digest;
#[allow(clippy::module_inception)] // what the folder is about
mod directory;
mod everyone;
mod handle;
mod name;
mod questions;
mod standing;
mod standings;
mod stripe;
mod user;

pub use directory::{Admitted, Directory};
pub(crate) use handle::STRIPES;
pub use handle::UserHandle;
pub(crate) use questions::{Silent, SingleFlight};
pub(crate) use standing::{Rules, Standing};
