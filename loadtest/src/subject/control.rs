//! Asks a server for an upgrade, over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

/// Time limit for each line of the answer: the server's own limit of an upgrade is at most ten minutes.
const TIMEOUT: Duration = Duration::from_secs(11 * 60);
/// A server's control socket.
#[derive(Clone, Debug)]
pub(crate) struct Control(PathBuf);

/// What the server reports of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Upgraded {
    /// The new process.
    pub(crate) pid: u32,
    /// Streams that moved to it.
    pub(crate) connections: u64,
    /// Streams that did not.
    pub(crate) lost: u64,
    pub(crate) took_ms: u64,
    /// The longest time for which a stream was in neither process's table.
    pub(crate) longest_pause_ms: u64,
}

/// A line of the answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Progress(serde::de::IgnoredAny),
    Done(Upgraded),
    Error(String),
}

impl Control {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Asks for an upgrade to a program, by default the one at the server's path, and waits until it is done.
    pub(crate) fn upgrade(&self, binary: Option<&Path>) -> Result<Upgraded> {
        let request = json!({ "command": "upgrade", "binary": binary });
        let shown = self.0.display();
        let mut stream = UnixStream::connect(&self.0)
            .with_context(|| format!("connecting to the control socket {shown}"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        outcome(BufReader::new(stream)).with_context(|| format!("upgrading over {shown}"))
    }
}

fn outcome(answer: impl BufRead) -> Result<Upgraded> {
    for line in answer.lines() {
        match serde_json::from_str(&line?)? {
            Answer::Progress(_) => {}
            Answer::Done(upgraded) => return Ok(upgraded),
            Answer::Error(problem) => bail!(problem),
        }
    }
    bail!("the server closed the connection without an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESS: &str = "{\"progress\":\"process 7 is ready\"}\n";

    #[test]
    fn the_report_follows_the_progress() {
        let done = r#"{"done":{"pid":7,"version":"1","connections":5,"lost":1,"took_ms":9,"longest_pause_ms":2}}"#;
        let upgraded = outcome(format!("{PROGRESS}{done}\n").as_bytes()).unwrap();
        assert_eq!(
            upgraded,
            Upgraded {
                pid: 7,
                connections: 5,
                lost: 1,
                took_ms: 9,
                longest_pause_ms: 2
            }
        );
    }

    #[test]
    fn an_upgrade_that_fails_or_never_ends_is_an_error() {
        let error = outcome(&b"{\"error\":\"no such program\"}\n"[..]).unwrap_err();
        assert_eq!(error.to_string(), "no such program");
        let error = outcome(PROGRESS.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("without an answer"), "{error}");
    }
}
