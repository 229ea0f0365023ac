//! The dashboard: a page, and the numbers that it shows.
//!
//! | module | one purpose |
//! |---|---|
//! | [`page`] | the page itself |
//! | [`live`] | a stream of the numbers, as they change |
//! | [`subscribers`] | the open streams and their queues |
//! | [`stats`] | the current numbers |
//! | [`rates`] | rates over the last seconds |
//! | [`time_series`] | the last 15 minutes |
//! | [`recent_refusals`] | streams that were recently refused |

pub(super) mod live;
pub(super) mod page;
mod rates;
pub(super) mod recent_refusals;
pub(super) mod stats;
mod subscribers;
mod time_series;

pub(super) use rates::Rates;
pub(super) use subscribers::{EventStream, LiveStats};
