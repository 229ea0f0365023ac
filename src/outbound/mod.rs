//! Questions that this server asks of others over HTTP: one GET at a time, its answer bounded in
//! bytes. No redirect is followed and no proxy is used, so that what a configuration names is
//! where a question goes, and nowhere else.
//!
//! Sockets belong to the runtime that a question is asked on. That has to be the control runtime:
//! a shard's descriptor table may be its own.
//!
//! | module | one purpose |
//! |---|---|
//! | [`resource`] | a URL, and the means to ask it |
//! | [`dns`] | lookups of host names, a few at a time |

mod dns;
mod resource;

pub(crate) use resource::{FetchError, HttpResource, NoRootCertificates, innermost};
