//! The admin listener: publish, users, health, metrics, the dashboard. An ordinary hyper service on
//! the control runtime; nothing here holds bytes per client.
//!
//! | module | one purpose |
//! |---|---|
//! | [`service`] | what all routes share, and what a reload changes |
//! | [`routes`], [`access`] | which route a request is for, and who may use it |
//! | [`api`] | publishing, users, and their description |
//! | [`dashboard`] | the page, its numbers and its live stream |
//! | [`metrics`], [`health`] | for scrapers and probes |
//! | [`connection`] | a connection from accept to close, and how many there may be |
//! | [`wrong_keys`], [`refused_requests`] | guesses cost time, and neither they nor failures fill the log |
//! | [`span`] | a request in its publisher's trace |
//! | [`process`], [`moment`] | what the kernel says of the process; how moments are written |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod access;
mod api;
mod connection;
mod dashboard;
mod health;
mod metrics;
mod moment;
mod process;
mod refused_requests;
mod routes;
mod service;
mod span;
mod wrong_keys;

pub(crate) use connection::serve;
pub(crate) use service::{Admin, NotReady};
