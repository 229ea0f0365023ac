//! The two formats of the page: Prometheus text or, if the scraper accepts it, OpenMetrics.

use std::fmt::Write;

use hyper::header::ACCEPT;
use hyper::{HeaderMap, StatusCode};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::scrape::Scrape;
use crate::admin::api::response::{ApiError, ApiResponse, bytes};
use crate::admin::service::Admin;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The response to a scraper with these header fields.
pub(in crate::admin) fn response(
    admin: &Admin,
    headers: &HeaderMap,
) -> Result<ApiResponse, ApiError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape::of(admin)));
    let mut page = String::with_capacity(16 * 1024);
    text::encode(&mut page, &registry)
        .map_err(|_| ApiError::invalid("the metrics could not be written"))?;
    let wants_open_metrics = headers.get_all(ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains(OPEN_METRICS))
    });
    Ok(if wants_open_metrics {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        bytes(StatusCode::OK, content_type, page)
    } else {
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        bytes(StatusCode::OK, content_type, plain(&page))
    })
}

/// Converts OpenMetrics to the Prometheus text format: a counter's family has the same name as its
/// samples, and there is no end marker.
fn plain(page: &str) -> String {
    let is_counter = |family: &str| page.contains(&format!("# TYPE {family} counter\n"));
    let mut text = String::with_capacity(page.len());
    for line in page.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(family), Some(rest))
                if is_counter(family) =>
            {
                let _ = writeln!(text, "# {kind} {family}_total {rest}");
            }
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_prometheus_format_a_counter_has_the_name_of_its_samples() {
        let page = "# HELP a Some a.\n# TYPE a counter\na_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(
            plain(page),
            "# HELP a_total Some a.\n# TYPE a_total counter\na_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n"
        );
    }
}
