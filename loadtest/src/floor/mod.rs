//! The floor: the cost of the kernel alone. A bare epoll server that answers a fixed head, holds connections
//! and sends one buffer to all.
//!
//! It parses nothing but the key of a WebSocket, checks no token, and keeps a descriptor and a byte per
//! connection. Whatever the server under test costs above it is the server's own. It is a separate process
//! (this program, the command `floor`) with as many `SO_REUSEPORT` threads as the server has shards, each with
//! its own descriptor table. It takes commands as lines on stdin, and ends when stdin is closed.
//!
//! With TLS it is not a floor but another comparison: the cost of TLS in a server that keeps the whole rustls
//! connection of each client ([`whole`]).

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
    /// Starts a floor with this many threads on a free port. With TLS it keeps a whole rustls connection per
    /// client.
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

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `frame` to every connection; each thread sends to its own.
    pub(crate) fn broadcast(&mut self, frame: &[u8]) -> Result<()> {
        self.send(format!("broadcast {}\n", frame.len()), frame)
    }

    /// Sends `frame` to one connection: the `number`th in the floor's own order.
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

    /// Sends a heartbeat to every connection once per `period_ms`, spread evenly; 0 stops this.
    pub(crate) fn heartbeats(&mut self, period_ms: u64) -> Result<()> {
        writeln!(self.commands, "heartbeats {period_ms}").context("the floor is gone")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has nothing to save
        let _ = self.child.wait();
    }
}
