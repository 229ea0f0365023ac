//! The arguments of all scenarios: subject, clients, output.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::tls::Tls;
use super::value::{duration, rate, setting};
use crate::engine::{AuthStyle, Limits};
use crate::sys;
use crate::tls::{Client, Trust};
use crate::token::List;
use crate::transport::Transport;

/// The arguments of all scenarios.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Common {
    /// Connections to hold
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,

    /// Start the server, a single node, for the run and end it afterwards
    #[arg(long, conflicts_with_all = ["url", "floor"], help_heading = "What is measured")]
    pub(crate) spawn: bool,
    /// Measure the built-in floor instead of a server
    #[arg(long, conflicts_with = "url", help_heading = "What is measured")]
    pub(crate) floor: bool,
    /// A running server's public listener, http://host:port or https://host:port. Repeat it for several nodes that
    /// share their events: clients are spread evenly, and a client that reconnects goes to another node
    #[arg(long, help_heading = "What is measured")]
    pub(crate) url: Vec<String>,
    /// Its admin listener. Repeat it to publish on several nodes in turn, one event after the other
    #[arg(long, requires = "url", help_heading = "What is measured")]
    pub(crate) admin_url: Vec<String>,
    /// The admin API key; a file keeps it out of the process list
    #[arg(
        long,
        env = "IDLEWILD_LOAD_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        conflicts_with = "api_key_file",
        help_heading = "What is measured"
    )]
    api_key: Option<String>,
    /// A file with the admin API key
    #[arg(long, value_name = "FILE", help_heading = "What is measured")]
    api_key_file: Option<PathBuf>,
    /// A file with the secret that tokens are signed with
    #[arg(
        long,
        requires = "url",
        value_name = "FILE",
        help_heading = "What is measured"
    )]
    secret_file: Option<PathBuf>,
    /// A file of tokens, one per line, each followed by a space and its user if events go to single users
    #[arg(
        long,
        requires = "url",
        conflicts_with_all = ["secret_file", "users"],
        value_name = "FILE",
        help_heading = "What is measured"
    )]
    tokens_file: Option<PathBuf>,
    /// Its process, for memory and CPU; its child processes are counted with it. With several nodes, repeat it for
    /// each, in the order of --url
    #[arg(
        long,
        requires = "url",
        value_name = "PID",
        help_heading = "What is measured"
    )]
    pub(crate) server_pid: Vec<u32>,
    /// The server's program [default: `idlewild` beside this one]
    #[arg(
        long,
        value_name = "PATH",
        requires = "spawn",
        help_heading = "What is measured"
    )]
    server_bin: Option<PathBuf>,
    /// The template of a server other than Idlewild, by name or file: set by `peer`
    #[arg(skip)]
    pub(crate) peer: Option<String>,
    /// The spawned server has a control socket: set by `upgrade`
    #[arg(skip)]
    pub(crate) with_control: bool,
    /// A line of the spawned server's configuration, in TOML: heartbeat='"5s"', shards=1 (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, requires = "spawn", help_heading = "What is measured")]
    pub(crate) set: Vec<(String, String)>,
    /// Allow a target on another machine
    #[arg(long, help_heading = "What is measured")]
    pub(crate) allow_remote: bool,

    /// Measure the floor as well, in the same run, and print the ratio
    #[arg(long, help_heading = "Beside the floor")]
    pub(crate) vs_floor: bool,
    /// The floor's threads [default: the server's shards]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024), help_heading = "Beside the floor")]
    floor_threads: Option<u32>,

    /// Users of the connections, numbered from 0 [default: one per connection]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), help_heading = "The clients")]
    users: Option<u32>,
    /// The transport of the clients [default: the first of the server's template]
    #[arg(long, value_enum, help_heading = "The clients")]
    pub(crate) transport: Option<Transport>,
    /// A third of the clients over WebSocket, a third over TLS, and the rest over plain SSE
    #[arg(long, requires = "spawn", conflicts_with_all = ["transport", "on", "vs_floor"], help_heading = "The clients")]
    pub(crate) mix: bool,
    /// How clients send their token
    #[arg(long, value_enum, default_value_t = AuthStyle::Query, help_heading = "The clients")]
    pub(crate) auth: AuthStyle,
    /// Begin each connection with a PROXY header, like a layer-4 balancer; client addresses are of
    /// 198.18.0.0/15
    #[arg(long, help_heading = "The clients")]
    pub(crate) proxy_protocol: bool,
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// The stream's path, which may contain ${user} and ${number} [default: the server's own]
    #[arg(long, help_heading = "The clients")]
    pub(crate) path: Option<String>,
    /// Source addresses, up to 9,500 connections from each [default: as many of 127.1.0.0/16 as necessary]
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        help_heading = "The clients"
    )]
    pub(crate) source: Vec<IpAddr>,
    /// Threads with a descriptor table each [default: one per core, more if the descriptor limit requires it]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024), help_heading = "The clients")]
    threads: Option<u32>,
    /// Handshakes in flight
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "The clients")]
    in_flight: u32,
    /// Connections per second [default: as fast as --in-flight allows]
    #[arg(long, value_parser = rate, value_name = "RATE", help_heading = "The clients")]
    connect_rate: Option<f64>,
    /// Time limit of a handshake
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME", help_heading = "The clients")]
    handshake_timeout: Duration,

    /// Bytes of an event's data, padded if necessary [default: as few as possible]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=500_000), help_heading = "The events")]
    payload_bytes: Option<u32>,

    /// Events that are published in one request, if as many are due
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "The events")]
    batch: u32,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
}

impl Common {
    /// Connections to hold.
    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    /// Their users.
    pub(crate) fn users(&self) -> u32 {
        self.users.unwrap_or(self.connections)
    }

    /// The minimal size of an event's data, in bytes.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes.unwrap_or(0) as usize
    }

    /// The most events in one publish request.
    pub(crate) fn batch(&self) -> usize {
        self.batch as usize
    }

    /// The limits of the client engine.
    pub(crate) fn limits(&self) -> Limits {
        let held = sys::raise_descriptor_limit().saturating_sub(sys::SPARE_DESCRIPTORS);
        let needed = u64::from(self.connections).div_ceil(held.max(1));
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        let threads = self.threads.unwrap_or_else(|| cores().max(needed));
        Limits {
            threads: threads.min(self.connections),
            connections: self.connections,
            in_flight: self.in_flight,
            rate: self.connect_rate,
            handshake: self.handshake_timeout,
            deaf_per_cent: 0,
        }
    }

    /// The TLS clients of `host`.
    pub(crate) fn tls_client(&self, host: &str, trust: Trust) -> Result<Client> {
        self.tls.client(host, trust, self.in_flight)
    }

    /// The descriptor tables of the spawned server: one shared table, or if that is too small, enough shards
    /// with a table each.
    pub(crate) fn spawned_tables(&self) -> Tables {
        let limit = sys::raise_descriptor_limit();
        let connections = u64::from(self.connections);
        if connections + SHARED_RESERVE <= limit {
            return Tables {
                kind: "shared",
                shards: 0,
            };
        }
        let each = (limit / 5 * 4).max(1);
        let shards = connections.div_ceil(each).max(cores().into());
        Tables {
            kind: "per-shard",
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
        }
    }

    /// The floor's threads: the configured number, or as many as the server has shards.
    pub(crate) fn floor_threads(&self) -> u32 {
        let shards = self
            .set
            .iter()
            .rfind(|(key, _)| key == "shards")
            .and_then(|(_, value)| value.parse().ok());
        self.floor_threads
            .or(shards)
            .or(Some(self.spawned_tables().shards))
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

    /// The admin API key, if given.
    pub(crate) fn api_key(&self) -> Result<Option<String>> {
        match &self.api_key {
            Some(key) => Ok(Some(key.clone())),
            None => self.api_key_file.as_ref().map(read_line).transpose(),
        }
    }

    /// The file of tokens, if given.
    pub(crate) fn tokens(&self) -> Result<Option<List>> {
        let path = self.tokens_file.as_deref();
        path.map(List::read).transpose()
    }

    /// The token secret, if given.
    pub(crate) fn secret(&self) -> Result<Option<Vec<u8>>> {
        let line = self.secret_file.as_ref().map(read_line).transpose()?;
        Ok(line.map(String::into_bytes))
    }
}

/// The descriptor tables of the spawned server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// The value of its `fd_tables`.
    pub(crate) kind: &'static str,
    /// 0 means one per core.
    pub(crate) shards: u32,
}

/// Descriptors that the server needs besides the run's connections in a shared table: handshakes (1,024),
/// others (256), and streams of a round that was just closed.
const SHARED_RESERVE: u64 = 2_000;

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

    use super::*;
    use crate::cli::{Cli, Command, Scenario};

    fn parse(line: &str) -> Common {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Scenario(Scenario::Idle(idle)) = cli.command else {
            panic!("not idle")
        };
        idle.common
    }

    #[test]
    fn the_floor_has_as_many_threads_as_the_server_has_shards() {
        let line = "load idle -n 1 --spawn --set shards=3";
        assert_eq!(parse(line).floor_threads(), 3);
    }

    #[test]
    fn connections_that_exceed_one_table_are_distributed() {
        let limit = sys::raise_descriptor_limit();
        let tables = |connections: u64| {
            parse(&format!("load idle -n {connections} --spawn")).spawned_tables()
        };
        assert_eq!(tables(100).kind, "shared");
        let many = tables((limit * 3).min(9_000_000));
        assert!(
            limit * 3 > 9_000_000 || (many.kind == "per-shard" && many.shards >= 4),
            "{many:?}"
        );
    }
}
