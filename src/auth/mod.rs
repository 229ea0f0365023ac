//! Authentication: turns the credentials of a request into an [`Identity`], and issues tokens and tickets.
//!
//! | module | one purpose |
//! |---|---|
//! | [`identity`] | who a client is |
//! | [`credentials`] | chooses the credential of a request that counts |
//! | [`keys`] | the keys that tokens are checked with, each of a known kind |
//! | [`jwt`] | turns a token into an [`Identity`], or a reason to reject it |
//! | [`checks`] | checks signatures on other threads |
//! | [`session`] | asks the application whose session a cookie is |
//! | [`ticket`] | one-time tickets, which replace a token in a URL |
//! | [`fair_queue`] | a queue in front of costly work, fair between addresses |
//! | [`mint`] | signs tokens, for the login and `idlewild token` |
//! | [`accounts`] | the login's user file |
//! | [`allowance`] | limits the failures of each address |
//! | [`failures`] | limits failed logins |
//! | [`api_key`] | the keys of publishers |
//!
//! Callers pass the time in; nothing here reads it. Requests to other servers ([`session`], a key set
//! at a URL) run on the control runtime; a shard's clients only wait for them.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub(crate) mod accounts;
pub(crate) mod allowance;
pub(crate) mod api_key;
pub(crate) mod checks;
pub mod credentials;
pub(crate) mod failures;
pub(crate) mod fair_queue;
mod identity;
pub mod jwt;
pub mod keys;
pub mod mint;
mod name;
mod random;
mod raw_object;
pub mod session;
pub mod ticket;

pub use identity::Identity;
pub(crate) use identity::{Issued, IssuedAt};
use random::random;
pub(crate) use random::random_name;
