//! The keys that tokens are checked with. Every key has a kind, and each kind serves only its own
//! algorithms. So a public key is never used as a shared secret.
//!
//! The keys of a [`KeySet`](set::KeySet) do not change while a configuration is in force.
//! [`RemoteKeys`](remote::RemoteKeys) adds those that a URL serves.
//!
//! An unusable key of a JSON Web Key Set is skipped, counted and logged: one bad key of an issuer must
//! not lock out the users of the others.
//!
//! | module | one purpose |
//! |---|---|
//! | [`set`] | the keys of a configuration |
//! | [`remote`] | the keys from a URL |
//! | [`key`] | one key |
//! | [`pem`], [`jwks`] | the formats of keys |
//! | [`error`] | why keys cannot be used |

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
