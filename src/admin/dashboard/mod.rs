//! The dashboard: a page, and the numbers that it draws.
//!
//! | module | one purpose |
//! |---|---|
//! | [`page`] | the page itself |
//! | [`live`] | the numbers as they change |
//! | [`readers`] | who gets them, and what they have not read yet |
//! | [`stats`] | the numbers of now |
//! | [`rates`] | the last seconds |
//! | [`past`] | the last 15 minutes |
//! | [`recent_refusals`] | the streams that were not opened lately |

pub(super) mod live;
pub(super) mod page;
mod past;
mod rates;
mod readers;
pub(super) mod recent_refusals;
pub(super) mod stats;

pub(super) use rates::Rates;
pub(super) use readers::{Events, Live};
