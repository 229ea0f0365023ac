//! The admin listener: publishing, users, health, metrics, the dashboard. An ordinary hyper service on
//! the control runtime; nothing here uses memory per client.
//!
//! | module | one purpose |
//! |---|---|
//! | [`service`] | the state that all routes share, and what a reload changes |
//! | [`routes`], [`access`] | finds the route of a request; checks API keys |
//! | [`api`] | publishing, users, and the OpenAPI document |
//! | [`dashboard`] | the page, its numbers and its live stream |
//! | [`demo_pages`] | lets the demo page of `--dev` publish |
//! | [`metrics`], [`health`] | for scrapers and probes |
//! | [`connection`] | connections from accept to close, and their limit |
//! | [`wrong_keys`], [`refused_requests`] | delays guesses of keys; limits log lines about refused requests |
//! | [`request_counts`] | counts answers by route and status |
//! | [`span`] | continues the publisher's trace |
//! | [`last_upgrade`] | how this process took over from another |
//! | [`process`], [`timestamp`] | statistics of the process; the format of times |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod access;
mod api;
mod connection;
mod dashboard;
mod demo_pages;
mod health;
mod last_upgrade;
mod metrics;
mod process;
mod refused_requests;
mod request_counts;
mod routes;
mod service;
mod span;
mod timestamp;
mod wrong_keys;

pub(crate) use connection::{PassedConnection, continue_connection, serve};
pub(crate) use last_upgrade::LastUpgrade;
pub(crate) use service::{Admin, NotReady};
