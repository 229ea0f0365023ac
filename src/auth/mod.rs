//! Who are you: from the bytes of a request to an [`Identity`], and the means to hand one out.
//!
//! | module | one purpose |
//! |---|---|
//! | [`identity`] | who a client is |
//! | [`credentials`] | which of a request's credentials decides |
//! | [`keys`] | the keys that tokens are checked with, each of a known kind |
//! | [`jwt`] | a token becomes an [`Identity`], or a reason why not |
//! | [`checks`] | checks signatures on other threads |
//! | [`session`] | asks the application whose session a cookie is |
//! | [`ticket`] | one-time tickets that stand in a URL in a token's place |
//! | [`fair_queue`] | whose costly question is next, fair between addresses |
//! | [`mint`] | signs tokens: the login and `idlewild token` |
//! | [`accounts`] | the login's user file |
//! | [`allowance`] | how often an address may be wrong |
//! | [`failures`] | how often a login may fail |
//! | [`api_key`] | the admin side's keys |
//!
//! Nothing reads the time but through what it is given. What is asked of others ([`session`], a key
//! set at a URL) is asked on the control runtime; a shard's clients only wait for it.

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
pub mod session;
pub mod ticket;

pub use identity::Identity;
pub(crate) use identity::{Issued, IssuedAt};
use random::random;
pub(crate) use random::random_name;
