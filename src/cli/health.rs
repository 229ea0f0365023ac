//! `idlewild health`: checks whether a running server is ready. For health checks of containers, which
//! have no curl.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, StatusCode};

use super::admin_client::{ServerArgs, text_at};
use super::output::print;

/// Longest wait for the response. The server knows at once whether it is ready.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct HealthCommand {
    #[command(flatten)]
    server: ServerArgs,
}

impl HealthCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = Request::get("/readyz").body(Full::default())?;
        let (status, body) = self.server.address()?.send(request, TIMEOUT)?;
        if status != StatusCode::OK {
            bail!("not ready: {}", text_at(body, "/reason"));
        }
        print("ready")
    }
}
