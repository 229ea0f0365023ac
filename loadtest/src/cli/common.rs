//! What every scenario takes: what is measured, the clients, the output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::value::{duration, rate, setting};
use crate::engine::Limits;

/// How a client shows its token.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AuthStyle {
    /// `?token=` in the URL
    Query,
    /// `Authorization: Bearer`
    Header,
}

/// What every scenario takes.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Common {
    /// Connections to hold
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,

    /// Start the server beside the load and end it afterwards
    #[arg(long, conflicts_with_all = ["url", "floor"], help_heading = "What is measured")]
    pub(crate) spawn: bool,
    /// Measure the built-in floor in the server's place
    #[arg(long, conflicts_with = "url", help_heading = "What is measured")]
    pub(crate) floor: bool,
    /// A running server's public listener, http://host:port
    #[arg(long, help_heading = "What is measured")]
    pub(crate) url: Option<String>,
    /// Its admin listener
    #[arg(long, requires = "url", help_heading = "What is measured")]
    pub(crate) admin_url: Option<String>,
    /// A file with the admin API key
    #[arg(
        long,
        requires = "admin_url",
        value_name = "FILE",
        help_heading = "What is measured"
    )]
    api_key_file: Option<PathBuf>,
    /// A file with the secret that tokens are signed with
    #[arg(
        long,
        requires = "url",
        value_name = "FILE",
        help_heading = "What is measured"
    )]
    secret_file: Option<PathBuf>,
    /// Its process, for memory and CPU
    #[arg(
        long,
        requires = "url",
        value_name = "PID",
        help_heading = "What is measured"
    )]
    pub(crate) server_pid: Option<u32>,
    /// The server's program [default: `idlewild` beside this one]
    #[arg(
        long,
        value_name = "PATH",
        requires = "spawn",
        help_heading = "What is measured"
    )]
    server_bin: Option<PathBuf>,
    /// A line of the spawned server's configuration, in TOML: heartbeat='"5s"', shards=1 (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, requires = "spawn", help_heading = "What is measured")]
    pub(crate) set: Vec<(String, String)>,
    /// Allow a target that is not this machine
    #[arg(long, help_heading = "What is measured")]
    pub(crate) allow_remote: bool,

    /// Measure the floor too, in the same run, and print the ratio
    #[arg(long, help_heading = "Beside the floor")]
    pub(crate) vs_floor: bool,
    /// The floor's threads [default: the server's shards]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Beside the floor")]
    floor_threads: Option<u32>,

    /// Users the connections belong to, numbered from 0 [default: one each]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), help_heading = "The clients")]
    users: Option<u32>,
    /// How they show their token
    #[arg(long, value_enum, default_value_t = AuthStyle::Query, help_heading = "The clients")]
    pub(crate) auth: AuthStyle,
    /// The stream's path
    #[arg(
        long,
        default_value = "/api/v1/auth/sse/notifications/",
        help_heading = "The clients"
    )]
    pub(crate) path: String,
    /// Threads [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "The clients")]
    threads: Option<u32>,
    /// Handshakes under way at one time
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "The clients")]
    in_flight: u32,
    /// Connects a second [default: as fast as --in-flight allows]
    #[arg(long, value_parser = rate, value_name = "RATE", help_heading = "The clients")]
    connect_rate: Option<f64>,
    /// How long one handshake may take
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME", help_heading = "The clients")]
    handshake_timeout: Duration,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
}

impl Common {
    /// Connections to hold.
    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    /// Users they belong to.
    pub(crate) fn users(&self) -> u32 {
        self.users.unwrap_or(self.connections)
    }

    /// The bounds of the client engine.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            threads: self.threads.unwrap_or_else(cores).min(self.connections),
            connections: self.connections,
            in_flight: self.in_flight,
            rate: self.connect_rate,
            handshake: self.handshake_timeout,
        }
    }

    /// Threads of the floor: as asked, or as many as the server has shards.
    pub(crate) fn floor_threads(&self) -> u32 {
        let shards = self
            .set
            .iter()
            .rfind(|(key, _)| key == "shards")
            .and_then(|(_, value)| value.parse().ok());
        self.floor_threads
            .or(shards)
            .filter(|&threads| threads > 0)
            .unwrap_or_else(cores)
    }

    /// The server's program.
    pub(crate) fn server_bin(&self) -> Result<PathBuf> {
        if let Some(path) = &self.server_bin {
            return Ok(path.clone());
        }
        let this = std::env::current_exe().context("the path of this program")?;
        Ok(this.with_file_name("idlewild"))
    }

    /// The admin API key, if one was named.
    pub(crate) fn api_key(&self) -> Result<Option<String>> {
        self.api_key_file.as_ref().map(read_line).transpose()
    }

    /// The token secret, if one was named.
    pub(crate) fn secret(&self) -> Result<Option<Vec<u8>>> {
        let line = self.secret_file.as_ref().map(read_line).transpose()?;
        Ok(line.map(String::into_bytes))
    }
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(1).min(256)
}

fn read_line(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_floor_has_as_many_threads_as_the_server_has_shards() {
        let line = "load idle -n 1 --spawn --set shards=3";
        let Command::Idle(idle) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("not idle")
        };
        assert_eq!(idle.common.floor_threads(), 3);
    }
}
