//! The routes that the guide describes.
//!
//! | module | one purpose |
//! |---|---|
//! | [`stream`] | a request for a stream |
//! | [`accept_encoding`] | whether a client asks for compression |
//! | [`ticket`] | exchanges a token for a ticket |
//! | [`login`], [`accounts`] | the built-in login, and its accounts |
//! | [`demo`] | the page of `--dev` |
//! | [`date`] | the date in a stream's head |

mod accept_encoding;
mod accounts;
mod date;
pub(super) mod demo;
pub(super) mod login;
pub(super) mod stream;
pub(super) mod ticket;

pub(crate) use accounts::Login;
pub(crate) use demo::Demo;
