//! The login's user file: TOML with one `[[users]]` block per account, passwords as Argon2id hashes.
//!
//! A wrong password and an unknown address take the same time: an unknown address is checked against
//! another account's hash, and the result is discarded.

#[allow(clippy::module_inception)] // what the folder is about
mod accounts;
mod edit;
mod file;
#[cfg(test)]
mod tests;

pub(crate) use accounts::{Account, Accounts};
pub(crate) use edit::{list, remove, set_password};
pub(crate) use file::add;
