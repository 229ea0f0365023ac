//! A token becomes an [`Identity`](crate::auth::Identity), or a reason why not. The signature comes first, and with it
//! the rule that the header may choose among what is configured but never beyond it; then the
//! claims, each strictly: one of the wrong type refuses the token rather than counting as absent.
//! One that is `null` counts as absent, since serialisers write it for what is not set.
//!
//! Checking a public key's signature is slow, so it is a step of its own ([`SignatureCheck`]) that
//! another thread can take.
//!
//! Time is an argument, so that nothing here reads a clock.

mod rejected;
mod signature;
#[cfg(test)]
mod tests;
mod verifier;

pub(crate) use rejected::Rejected;
pub(crate) use signature::{SignatureCheck, Signed};
pub use verifier::Verifier;
pub(super) use verifier::{MAX_PATTERNS, MAX_TOKEN_BYTES};
