//! The login's user file: TOML, one `[[users]]` block a user, passwords as Argon2id hashes.
//!
//! A wrong password and an unknown address take the same time: an unknown address is checked
//! against some user's hash all the same, and the answer thrown away.

mod file;
#[cfg(test)]
mod tests;
#[allow(clippy::module_inception)] // what the folder is about
mod users;

pub(crate) use file::add;
pub(crate) use users::{User, Users};
