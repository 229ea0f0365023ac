//! The routes that the guide describes.
//!
//! | module | one purpose |
//! |---|---|
//! | [`stream`] | a request for a stream |
//! | [`ticket`] | exchanges a token for a ticket |
//! | [`login`], [`accounts`] | the built-in login, and its accounts |
//! | [`demo`] | the page of `--dev` |
//! | [`date`] | the date in a stream's head |

mod accounts;
mod date;
pub(super) mod demo;
pub(super) mod login;
pub(super) mod stream;
pub(super) mod ticket;

pub(crate) use accounts::Login;
pub(crate) use demo::Demo;
