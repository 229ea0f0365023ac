//! Counts the answers of the admin listener by route and status, for `/metrics`.

use std::collections::BTreeMap;

use hyper::StatusCode;
use parking_lot::Mutex;

/// The route of a path that is not served. Paths themselves are not counted: a client could invent any number.
const UNKNOWN: &str = "unknown";

/// The numbers of answers. Routes are templates and the statuses are our own, so the map is bounded.
#[derive(Debug, Default)]
pub(super) struct RequestCounts(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl RequestCounts {
    /// Counts an answer; `route` is the template of its path.
    pub(super) fn note(&self, route: Option<&'static str>, status: StatusCode) {
        let key = (route.unwrap_or(UNKNOWN), status.as_u16());
        *self.0.lock().entry(key).or_default() += 1;
    }

    /// The route, status and number of all answers so far.
    pub(super) fn all(&self) -> Vec<(&'static str, u16, u64)> {
        let counts = self.0.lock();
        let counts = counts.iter();
        counts
            .map(|((route, status), count)| (*route, *status, *count))
            .collect()
    }
}
