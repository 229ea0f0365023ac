//! HTTP requests to other servers: GET only, with a limited response size. Redirects and proxies are not
//! used, so a request goes where the configuration says and nowhere else.
//!
//! Sockets belong to the runtime on which a request is made. That has to be the control runtime, since a
//! shard may have its own descriptor table.
//!
//! | module | one purpose |
//! |---|---|
//! | [`resource`] | a URL, and a client that fetches it |
//! | [`dns`] | lookups of host names, a few at a time |

mod dns;
mod resource;

pub(crate) use resource::{FetchError, HttpResource, NoRootCertificates, innermost};
