//! The login's user file: TOML, one `[[users]]` block a user, passwords as Argon2id hashes.
//!
//! A wrong password and an unknown address take the same time: an unknown address is checked
//! against some user's hash all the same, and the answer thrown away.

#[allow(clippy::module_inception)] // what the folder is about
mod accounts;
mod file;
#[cfg(test)]
mod tests;

pub(crate) use accounts::{Account, Accounts};
pub(crate) use file::add;
