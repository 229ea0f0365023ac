//! Turns a token into an [`Identity`](crate::auth::Identity), or a reason to reject it.
//!
//! The signature is checked first. The header can only choose among configured keys and algorithms.
//! Then the claims are checked strictly: a claim of the wrong type rejects the token instead of
//! counting as absent. A claim that is `null` counts as absent, since serialisers write unset fields so.
//!
//! Checking a public-key signature is slow, so it is a separate step ([`SignatureCheck`]) that can run
//! on another thread. Time is an argument; nothing here reads a clock.

mod rejected;
mod signature;
#[cfg(test)]
mod tests;
mod verifier;

pub(crate) use rejected::Rejected;
pub(crate) use signature::{SignatureCheck, Signed};
pub use verifier::Verifier;
pub(super) use verifier::{MAX_PATTERNS, MAX_TOKEN_BYTES};
