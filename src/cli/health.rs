//! `idlewild health`: whether a running server is ready, for health checks of containers, which
//! have no curl.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::Value;

use super::admin::Server;
use super::say;

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
            let reason = serde_json::from_str::<Value>(&answer)
                .ok()
                .and_then(|answer| Some(answer.get("reason")?.as_str()?.to_owned()))
                .unwrap_or(answer);
            bail!("not ready: {reason}");
        }
        say("ready")
    }
}
