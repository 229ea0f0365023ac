//! Requests and answers on the control socket. Each is one line of JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::upgrades::UpgradeReport;

/// A request. A connection has one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ControlRequest {
    /// `{"command":"upgrade","binary":null}`: hand everything over to another program.
    Upgrade {
        /// The absolute path of the program; `None` is the one that is now at the path of the running program.
        #[serde(default)]
        binary: Option<PathBuf>,
    },
}

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ControlAnswer {
    /// What the server is doing; further lines follow.
    Progress(String),
    /// The request is done. This is the last line.
    Done(UpgradeReport),
    /// The request is refused or has failed, in one sentence. This is the last line.
    Error(String),
}

impl ControlRequest {
    /// Parses a line.
    ///
    /// # Errors
    /// One sentence that says what is wrong, and shows a valid request.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let example = r#"{"command":"upgrade","binary":null}"#;
        let invalid = |problem: String| format!("invalid request: {problem} (send {example})");
        if line.trim_ascii().is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        let request = serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))?;
        match &request {
            Self::Upgrade { binary: Some(path) } if !path.is_absolute() => {
                let problem = format!("binary: `{}` does not begin with /", path.display());
                Err(invalid(problem))
            }
            Self::Upgrade { .. } => Ok(request),
        }
    }
}

impl ControlAnswer {
    /// The answer as a line, with its line feed.
    pub(super) fn line(&self) -> Vec<u8> {
        // Texts and numbers always have a form in JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server::control::upgrades::tests::report;

    #[test]
    fn requests_read_as_documented() {
        let program = Some(PathBuf::from("/usr/bin/idlewild"));
        for (line, binary) in [
            (r#"{"command":"upgrade","binary":null}"#, None),
            (r#"{"command":"upgrade"}"#, None),
            (
                r#"{"command":"upgrade","binary":"/usr/bin/idlewild"}"#,
                program,
            ),
        ] {
            let parsed = ControlRequest::parse(line.as_bytes());
            assert_eq!(parsed, Ok(ControlRequest::Upgrade { binary }), "{line}");
        }
    }

    #[test]
    fn an_invalid_request_is_answered_with_the_reason_and_an_example() {
        for (line, reason) in [
            ("", "it is empty"),
            (" \t", "it is empty"),
            ("upgrade", "expected value"),
            (r#"{"command":"stop"}"#, "unknown variant `stop`"),
            (r#"{"binary":null}"#, "missing field `command`"),
            (
                r#"{"command":"upgrade","force":true}"#,
                "unknown field `force`",
            ),
            (
                r#"{"command":"upgrade","binary":"idlewild"}"#,
                "`idlewild` does not begin with /",
            ),
            (r#"{"command":"upgrade"} {}"#, "trailing characters"),
        ] {
            let error = ControlRequest::parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
            assert!(error.contains(r#"{"command":"upgrade""#), "{error}");
        }
    }

    #[test]
    fn an_answer_is_one_line() {
        for (answer, line) in [
            (
                ControlAnswer::Progress("a\nb".into()),
                "{\"progress\":\"a\\nb\"}\n",
            ),
            (ControlAnswer::Error("no".into()), "{\"error\":\"no\"}\n"),
            (
                ControlAnswer::Done(report()),
                "{\"done\":{\"pid\":7,\"version\":\"1.2.3\",\"connections\":15000,\"lost\":1,\
                 \"took_ms\":900,\"longest_pause_ms\":40}}\n",
            ),
        ] {
            assert_eq!(String::from_utf8(answer.line()).unwrap(), line);
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line: Vec<u8>) {
            let _ = ControlRequest::parse(&line);
        }
    }
}
