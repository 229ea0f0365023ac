//! `idlewild upgrade`: asks a running server, over its control socket, to hand everything over to another program.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::config_args::ConfigArgs;
use super::dev_secrets;
use super::output::{print, say};
use super::usage_error::UsageError;
use crate::config::{control_path, load};
use crate::server::{ControlAnswer, ControlRequest};

/// Longest wait for the next line. An upgrade takes at most `upgrade_timeout`, which is at most ten minutes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(11 * 60);

#[derive(Args, Debug)]
pub(super) struct UpgradeCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// The server's control socket; default: `control` of the configuration, or else
    /// /run/idlewild/control.sock.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// The program to hand over to; default: the one that is now at the path of the running one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl UpgradeCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = self.request()?;
        let path = self.path()?;
        let answers = ask(&path, &request)?;
        for line in answers.lines() {
            // The server has ended without reading the request.
            let is_reset = |error: &io::Error| error.kind() == ErrorKind::ConnectionReset;
            if line.as_ref().is_err_and(is_reset) {
                break;
            }
            let line = line.with_context(|| format!("{}: no answer", path.display()))?;
            let answer = serde_json::from_str(&line)
                .with_context(|| format!("{}: not a control socket", path.display()))?;
            match answer {
                ControlAnswer::Progress(step) => say(step),
                ControlAnswer::Done(report) => return print(serde_json::to_string(&report)?),
                ControlAnswer::Error(problem) => bail!(problem),
            }
        }
        bail!(
            "{}: the server has closed the connection without an answer; see its log",
            path.display()
        )
    }

    /// The request, as a line.
    fn request(&self) -> anyhow::Result<String> {
        // The server has another current directory.
        let binary = self.binary.as_deref().map(std::path::absolute).transpose();
        let binary = binary.map_err(|error| UsageError(format!("--binary: {error}")))?;
        let request = serde_json::to_string(&ControlRequest::Upgrade { binary })
            .map_err(|error| UsageError(format!("--binary: {error}")))?;
        Ok(request + "\n")
    }

    /// The path of the control socket.
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.control {
            return Ok(path.clone());
        }
        // Only the path is used. The secrets may be in the server's environment, and not in this one.
        let sources = self
            .config
            .sources(Vec::new(), Some(dev_secrets::made_up()))?;
        let path = control_path(load(&sources)?.control.as_deref());
        Ok(path.ok_or_else(|| {
            UsageError(
                "no control socket: /run/idlewild does not exist, and `control` is not set (--control PATH, or --config FILE if the file sets it)".to_owned(),
            )
        })?)
    }
}

/// Sends the request, and returns the lines of the answer.
fn ask(path: &Path, request: &str) -> anyhow::Result<BufReader<UnixStream>> {
    let shown = path.display();
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "{shown}: no server listens there (start one, or name its socket with --control or --config)"
        ),
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "{shown}: permission denied (run this as root, or as the server's user)"
        ),
        _ => anyhow::anyhow!("{shown}: {error}"),
    })?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // A server that refuses this peer may have closed the connection already. Its answer can still be read.
    match stream.write_all(request.as_bytes()) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            Err(error).with_context(|| shown.to_string())
        }
        _ => Ok(BufReader::new(stream)),
    }
}
