//! One user's session changes, and which tokens they allow.
//!
//! | module | one purpose |
//! |---|---|
//! | [`standing`] | what is remembered, and which tokens it allows |
//! | [`past`] | sessions that are not current any more |
//! | [`rules`] | the rules for tokens, from the configuration |

mod past;
mod rules;
#[allow(clippy::module_inception)] // what the folder is about
mod standing;

pub(crate) use rules::Rules;
pub(crate) use standing::Standing;
