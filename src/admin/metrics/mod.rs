//! `GET /metrics`: all metrics, for scrapers.
//!
//! | module | one purpose |
//! |---|---|
//! | [`page`] | the two formats of the page |
//! | [`scrape`] | the metrics, family by family |
//! | [`families`] | writes a family |

mod families;
mod page;
mod scrape;

pub(super) use page::response;
