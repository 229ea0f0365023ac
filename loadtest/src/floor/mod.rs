//! The floor: what the kernel alone costs. A bare epoll server that answers a fixed head, holds, and
//! sends one buffer to all.
//!
//! It parses nothing but the key of a WebSocket, signs nobody in and keeps a descriptor and a byte a connection, so that
//! what the server under test costs above it is that server's own. It runs as a process of its own (this program, the
//! command `floor`), with as many `SO_REUSEPORT` threads as the server has shards, each with a descriptor
//! table of its own, and takes commands as lines on stdin; the end of stdin ends it.
//!
//! Asked for TLS, it is no floor but a yardstick of another kind: what TLS costs a server that keeps all that rustls
//! has of each client ([`whole`]).

mod beat;
pub(crate) mod frames;
mod serve;
mod upgrades;
mod whole;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

pub(crate) use serve::run;

use crate::sys;
use crate::transport::Transport;

/// A running floor process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    commands: ChildStdin,
    address: SocketAddr,
}

impl Floor {
    /// Starts one with this many threads on a free port; with TLS if it is to keep a whole rustls connection a client.
    pub(crate) fn start(threads: u32, tls_whole: bool, transport: Transport) -> Result<Self> {
        let this = std::env::current_exe().context("the path of this program")?;
        let mut command = Command::new(this);
        command.args(["floor", "--threads", &threads.to_string()]);
        command.args(["--transport", &transport.to_string()]);
        if tls_whole {
            command.arg("--tls-whole");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::end_with_parent(&mut command);
        let mut child = command.spawn().context("starting the floor")?;
        let commands = child.stdin.take().context("the floor's stdin")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the floor's stdout")?).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("the floor said {line:?}"))?;
        Ok(Self {
            child,
            commands,
            address,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `frame` to every connection, each thread to its own in a loop of bare sends.
    pub(crate) fn broadcast(&mut self, frame: &[u8]) -> Result<()> {
        self.send(format!("broadcast {}\n", frame.len()), frame)
    }

    /// Sends `frame` to one connection: of all that it holds the `number`th, in an order of its own.
    pub(crate) fn unicast(&mut self, number: u32, frame: &[u8]) -> Result<()> {
        self.send(format!("unicast {number} {}\n", frame.len()), frame)
    }

    fn send(&mut self, command: String, frame: &[u8]) -> Result<()> {
        let mut command = command.into_bytes();
        command.extend_from_slice(frame);
        self.commands
            .write_all(&command)
            .context("the floor is gone")
    }

    /// Sends a heartbeat to every connection once in `period_ms`, spread evenly; 0 stops it.
    pub(crate) fn heartbeats(&mut self, period_ms: u64) -> Result<()> {
        writeln!(self.commands, "heartbeats {period_ms}").context("the floor is gone")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it holds nothing worth a goodbye
        let _ = self.child.wait();
    }
}
