//! `idlewild health`: whether a running server is ready, for health checks of containers, which
//! have no curl.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, StatusCode};

use super::admin::{Server, told};
use super::output::say;

/// How long the server may take: readiness is known without waiting for anything.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct Health {
    #[command(flatten)]
    server: Server,
}

impl Health {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = Request::get("/readyz").body(Full::default())?;
        let (status, answer) = self.server.address()?.ask(request, TIMEOUT)?;
        if status != StatusCode::OK {
            bail!("not ready: {}", told(answer, "/reason"));
        }
        say("ready")
    }
}
