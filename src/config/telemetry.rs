//! `[telemetry]`: where the spans of admin requests and of the engine's work go.

use hyper::Uri;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, Findings};

/// `[telemetry]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Base URL of an OTLP/HTTP collector, `http://host:port`; empty exports nothing.
    pub otlp_endpoint: String,
    /// What the collector is told that this is.
    pub service_name: String,
    /// Share of the traces that begin here which is exported; one that a publisher began is
    /// exported as the publisher decided.
    pub sample_ratio: f64,
}

impl Telemetry {
    /// Where the spans are posted to; `None` where nothing is exported.
    ///
    /// # Errors
    /// One line about what is wrong with the endpoint.
    pub fn traces(&self) -> Result<Option<Uri>, ConfigError> {
        let text = self.otlp_endpoint.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        let refused = |problem: &str| {
            // Not repeated before it is known to hold no password.
            let shown = if text.contains('@') {
                String::new()
            } else {
                format!("`{text}` ")
            };
            ConfigError::key(
                "telemetry.otlp_endpoint",
                format!("{shown}{problem} (http://127.0.0.1:4318 is a collector on this machine)"),
            )
        };
        if text.contains('@') {
            return Err(refused(
                "holds a user name or a password, which this version does not send",
            ));
        }
        if text.to_ascii_lowercase().starts_with("https://") {
            return Err(refused(
                "asks for TLS, which this version does not speak to a collector; let one on this machine pass the spans on",
            ));
        }
        if !text.to_ascii_lowercase().starts_with("http://") {
            return Err(refused("does not start with http://"));
        }
        if text.contains(['?', '#']) {
            return Err(refused("has a query or a fragment"));
        }
        let base: Uri = text.parse().map_err(|_| refused("is no URL"))?;
        if base.port_u16().is_none_or(|port| port == 0) {
            return Err(refused("names no port"));
        }
        // Somebody who copies the whole URL means the same.
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/v1/traces").unwrap_or(base);
        let traces = format!("{base}/v1/traces").parse();
        traces.map(Some).map_err(|_| refused("is no URL"))
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        findings.note(self.traces());
        if self.service_name.trim().is_empty() {
            let problem = "is empty, name the service (the collector sorts traces by it)";
            findings.note::<()>(Err(ConfigError::key("telemetry.service_name", problem)));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            let problem = format!("{}, write 0.0 (none) to 1.0 (all)", self.sample_ratio);
            findings.note::<()>(Err(ConfigError::key("telemetry.sample_ratio", problem)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(endpoint: &str) -> Telemetry {
        Telemetry {
            otlp_endpoint: endpoint.to_owned(),
            ..Telemetry::default()
        }
    }

    fn problems(telemetry: &Telemetry) -> String {
        let mut findings = Findings::default();
        telemetry.check(&mut findings);
        let lines = findings.result(()).err().map(|errors| errors.to_string());
        lines.unwrap_or_default()
    }

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
            let uri = at(endpoint).traces().unwrap().unwrap();
            assert_eq!(uri.to_string(), traces, "{endpoint}");
        }
        assert!(at("").traces().unwrap().is_none());
    }

    #[test]
    fn what_is_no_collector_is_refused_in_one_line_without_a_password() {
        for (endpoint, problem) in [
            ("https://collector:4318", "asks for TLS"),
            ("127.0.0.1:4318", "does not start with http://"),
            ("unix:/run/collector.sock", "does not start with http://"),
            ("http://collector", "names no port"),
            ("http://collector:0", "names no port"),
            ("http://collector:4318?key=x", "has a query"),
            ("http://a b:4318", "is no URL"),
            ("http://", "is no URL"),
            ("http://me:hunter2@collector:4318", "holds a user name"),
        ] {
            let error = problems(&at(endpoint));
            assert!(error.contains("telemetry.otlp_endpoint"), "{error}");
            assert!(error.contains(problem), "{endpoint}: {error}");
            assert!(
                !error.contains('\n') && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_ratio_is_a_share_and_a_service_has_a_name() {
        for sample_ratio in [-0.1, 1.1, f64::NAN] {
            let telemetry = Telemetry {
                sample_ratio,
                ..Telemetry::default()
            };
            assert!(!problems(&telemetry).is_empty(), "{sample_ratio}");
        }
        let nameless = Telemetry {
            service_name: " ".to_owned(),
            ..Telemetry::default()
        };
        assert!(!problems(&nameless).is_empty());
    }
}
