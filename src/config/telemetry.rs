//! `[telemetry]`: the collector for spans of admin requests and of the engine's work.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

use super::checks::not_blank;
use super::section::section;
use super::setting::text_setting;

section! {
    /// `[telemetry]`: where traces go.
    pub struct Telemetry {
        /// Base URL of an OTLP/HTTP collector for traces, "http://127.0.0.1:4318" (docs/tracing.md).
        pub otlp_endpoint: Option<Collector> = None;
        /// This server's name at the collector.
        pub service_name: String = "idlewild".to_owned(),
            check not_blank("name the service (the collector sorts traces by it)");
        /// The share of the traces that begin here to export; 0.0 to 1.0.
        ///
        /// A trace that a publisher began is exported as the publisher decided.
        pub sample_ratio: f64 = 1.0, check share;
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as all checks get their value
fn share(ratio: &f64) -> Result<(), String> {
    if (0.0..=1.0).contains(ratio) {
        Ok(())
    } else {
        Err(format!("{ratio}, write 0.0 (none) to 1.0 (all)"))
    }
}

/// A trace collector that accepts OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    text: Box<str>,
    traces: Uri,
}

impl Collector {
    /// The URL to which spans are posted.
    pub fn traces(&self) -> &Uri {
        &self.traces
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rejected = |problem: &str| {
            // The text is shown only if it cannot contain a password.
            let shown = if text.contains('@') {
                String::new()
            } else {
                format!("`{text}` ")
            };
            Err(format!(
                "{shown}{problem} (http://127.0.0.1:4318 is a collector on this machine)"
            ))
        };
        if text.contains('@') {
            return rejected("holds a user name or a password, which this version does not send");
        }
        if text.to_ascii_lowercase().starts_with("https://") {
            return rejected(
                "asks for TLS, which this version does not support for collectors; use a collector on this machine that forwards the spans",
            );
        }
        if !text.to_ascii_lowercase().starts_with("http://") {
            return rejected("does not start with http://");
        }
        if text.contains(['?', '#']) {
            return rejected("has a query or a fragment");
        }
        let Ok(base) = text.parse::<Uri>() else {
            return rejected("is not a URL");
        };
        if base.port_u16().is_none_or(|port| port == 0) {
            return rejected("names no port");
        }
        // The whole URL is accepted as well.
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/v1/traces").unwrap_or(base);
        let Ok(traces) = format!("{base}/v1/traces").parse() else {
            return rejected("is not a URL");
        };
        Ok(Self {
            text: text.into(),
            traces,
        })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_setting!(Collector);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_appended() {
        for (endpoint, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            (
                "http://agent:4318/otlp/",
                "http://agent:4318/otlp/v1/traces",
            ),
            ("HTTP://agent:4318/v1/traces", "http://agent:4318/v1/traces"),
        ] {
            let collector: Collector = endpoint.parse().unwrap();
            assert_eq!(collector.traces().to_string(), traces, "{endpoint}");
        }
    }

    #[test]
    fn an_invalid_collector_is_rejected_without_showing_a_password() {
        for (endpoint, problem) in [
            ("https://collector:4318", "asks for TLS"),
            ("127.0.0.1:4318", "does not start with http://"),
            ("unix:/run/collector.sock", "does not start with http://"),
            ("http://collector", "names no port"),
            ("http://collector:0", "names no port"),
            ("http://collector:4318?key=x", "has a query"),
            ("http://a b:4318", "is not a URL"),
            ("http://", "is not a URL"),
            ("http://me:hunter2@collector:4318", "holds a user name"),
        ] {
            let error = endpoint.parse::<Collector>().unwrap_err();
            assert!(error.contains(problem), "{endpoint}: {error}");
            assert!(
                !error.contains('\n') && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_ratio_is_a_share() {
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert!(share(&ratio).is_err(), "{ratio}");
        }
        for ratio in [0.0, 0.5, 1.0] {
            assert!(share(&ratio).is_ok(), "{ratio}");
        }
    }
}
