//! `engine.url`: where the Redis or Valkey server is, and how to sign in.
//!
//! | module | one purpose |
//! |---|---|
//! | [`engine_url`] | the URL, in each of its forms |
//! | [`addresses`] | hosts and ports |
//! | [`login`] | user and password |

mod addresses;
#[allow(clippy::module_inception)] // the folder's main type
mod engine_url;
mod login;

pub(crate) use engine_url::{EngineUrl, Servers};
