//! The keys that tokens are checked with. Every key knows its kind, and a kind serves its own
//! algorithms only: that is what keeps a public key from ever being used as a shared secret.
//!
//! What does not change while a configuration is in force is a [`KeySet`](set::KeySet); a set that a URL serves
//! stands beside it ([`RemoteKeys`](remote::RemoteKeys)).
//!
//! A key of a JSON Web Key Set that cannot be used is skipped, counted and logged: an issuer's one
//! bad key must not lock out the users of the others.
//!
//! | module | one purpose |
//! |---|---|
//! | [`set`] | the keys of a configuration |
//! | [`remote`] | those that a URL serves |
//! | [`key`] | one of them |
//! | [`pem`], [`jwks`] | the forms that they are written in |
//! | [`error`] | why they cannot be used |

mod error;
mod jwks;
mod key;
mod pem;
pub mod remote;
mod set;
#[cfg(test)]
mod tests;

pub(crate) use error::KeysError;
pub(super) use key::{KeyKind, TriedKey, jose};
pub(super) use set::shared_secret;
