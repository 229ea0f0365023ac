//! The contract, over real sockets, by capability. Time is moved, not waited for.

#![allow(missing_docs, unreachable_pub)] // nobody but these tests sees it
#![allow(clippy::format_push_string, clippy::must_use_candidate)]

mod credentials;
mod handshake;
mod login;
mod refusal;
mod stream;
mod support;
