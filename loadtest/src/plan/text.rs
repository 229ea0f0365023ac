//! Prints the plan as text.

use std::fmt::{Display, Formatter, Result};

use super::capacity::{FdTables, MAX_HANDSHAKES};
use super::sysctl::joined;
use super::{Bound, Plan};
use crate::number::grouped;

const GIB: f64 = 1_073_741_824.0;
const MIB: f64 = 1_048_576.0;
/// Up to this multiple of the measured connections a slope is trusted; beyond it the plan has a remark.
const FAR: f64 = 10.0;
/// The server's defaults of `drain_rate` (streams per second) and `drain_timeout`.
const DRAIN_RATE: u64 = 5_000;
const DRAIN_TIMEOUT_S: u64 = 30;

impl Display for Plan {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        self.costs(to)?;
        self.holds(to)?;
        self.settings(to)?;
        self.kernel(to)?;
        self.remarks(to)
    }
}

impl Plan {
    fn costs(&self, to: &mut Formatter<'_>) -> Result {
        let cost = &self.cost;
        write!(to, "Measured: {}", self.subject)?;
        if let Some(connections) = self.measured_connections {
            write!(to, ", {} connections", grouped(connections, 0))?;
        }
        writeln!(to, "\n\nA connection costs the server's machine, in bytes")?;
        row(to, "user space", &grouped(cost.user_bytes, 0))?;
        row(
            to,
            "kernel, the server's end",
            &grouped(cost.kernel_bytes, 0),
        )?;
        row(
            to,
            "a queued frame, during an event to all",
            &grouped(cost.frame_bytes, 0),
        )?;
        row(to, "total", &grouped(cost.connection_bytes(), 0))?;
        writeln!(to, "Fixed costs, in MiB")?;
        row(to, "the process", &mib(cost.process_bytes))?;
        row(to, "max_handshakes (default)", &mib(cost.handshake_bytes))?;
        row(to, "history.max_bytes (default)", &mib(cost.history_bytes))?;
        row(
            to,
            "rest of the machine (--reserve)",
            &mib(self.machine.reserve_bytes),
        )
    }

    fn holds(&self, to: &mut Formatter<'_>) -> Result {
        let (machine, capacity) = (&self.machine, &self.capacity);
        let (memory, descriptors) = (gib(machine.memory_bytes), whole(machine.descriptors));
        writeln!(to, "\nConnections allowed by")?;
        row(to, &format!("memory, {memory}"), &whole(capacity.memory))?;
        row(
            to,
            &format!("{descriptors} descriptors, one table"),
            &whole(capacity.descriptors_shared),
        )?;
        if machine.shards > 1 {
            let each = format!(
                "{descriptors} descriptors per shard, {} shards",
                machine.shards
            );
            row(to, &each, &whole(capacity.descriptors_per_shard))?;
        }
        let planned = whole(self.connections);
        match self.bound {
            Bound::Memory => writeln!(to, "Planned: {planned}; limited by memory."),
            Bound::Descriptors => writeln!(
                to,
                "Planned: {planned}; limited by descriptors. To plan for all of the memory: --connections {}",
                capacity.memory
            ),
            Bound::Asked => {
                let (needed, verdict) = (
                    gib(self.memory_needed_bytes),
                    if self.fits() { "fits" } else { "does not fit" },
                );
                writeln!(
                    to,
                    "Planned: {planned}, as requested; needs {needed} of {memory}: {verdict}."
                )
            }
        }
    }

    fn settings(&self, to: &mut Formatter<'_>) -> Result {
        let tables = match self.fd_tables {
            FdTables::Shared => "shared",
            FdTables::PerShard => "per-shard",
        };
        writeln!(to, "\nidlewild.toml")?;
        writeln!(to, "  max_connections = {}", self.connections)?;
        writeln!(to, "  shards = {}", self.machine.shards)?;
        writeln!(to, "  fd_tables = \"{tables}\"")?;
        let drain_s = self.connections.div_ceil(DRAIN_RATE);
        if drain_s > DRAIN_TIMEOUT_S {
            writeln!(
                to,
                "  drain_timeout = \"{drain_s}s\"  # for all streams at drain_rate = {DRAIN_RATE}; TimeoutStopSec must be longer"
            )?;
        }
        let raised = if self.limit_nofile > self.machine.descriptors {
            "  # above the current limit"
        } else {
            ""
        };
        writeln!(
            to,
            "systemd unit, [Service]\n  LimitNOFILE={}{raised}",
            self.limit_nofile
        )
    }

    fn kernel(&self, to: &mut Formatter<'_>) -> Result {
        writeln!(to, "\nKernel")?;
        for limit in &self.sysctls {
            let now = limit
                .now
                .as_deref()
                .map_or("not readable".to_owned(), joined);
            let verdict = match &limit.now {
                None => "check it yourself",
                Some(_) if limit.falls_short() => "TOO LOW",
                Some(_) => "sufficient",
            };
            writeln!(
                to,
                "  {} is {now}, needed {}: {verdict}",
                limit.name,
                joined(&limit.wanted)
            )?;
            writeln!(to, "      {}", limit.why)?;
        }
        let mut short = self
            .sysctls
            .iter()
            .filter(|limit| limit.falls_short())
            .peekable();
        if short.peek().is_none() {
            return writeln!(to, "  Nothing has to be raised.");
        }
        writeln!(
            to,
            "--apply raises these until the next boot; to make them permanent, add to /etc/sysctl.d/90-idlewild.conf:"
        )?;
        for limit in short {
            writeln!(to, "  {} = {}", limit.name, limit.target())?;
        }
        Ok(())
    }

    fn remarks(&self, to: &mut Formatter<'_>) -> Result {
        writeln!(to, "\nRemarks")?;
        writeln!(
            to,
            "- The clients' ends of the connections are not included: they are on other machines."
        )?;
        writeln!(
            to,
            "- Frames longer than about 60 bytes take their length per client while they are queued. A client that"
        )?;
        writeln!(to, "  reads too slowly takes up to max_backlog_bytes.")?;
        if self.kernel_bytes_are_halved {
            writeln!(
                to,
                "- Without a floor, the kernel's bytes are half of those of both ends; hold --vs-floor separates the ends."
            )?;
        }
        if real(self.connections) > FAR * self.measured_connections.unwrap_or(0.0) {
            writeln!(
                to,
                "- This is far more than was measured: hold more connections (-n) before you rely on it."
            )?;
        }
        writeln!(
            to,
            "- The plan includes {} concurrent handshakes, the default of max_handshakes.",
            whole(MAX_HANDSHAKES)
        )?;
        if let Some(ports) = self.local_ports {
            let addresses = whole(self.connections.div_ceil(ports.max(1)));
            writeln!(
                to,
                "- A proxy or load generator needs a port for each connection. A source address has {}",
                whole(ports)
            )?;
            writeln!(
                to,
                "  (net.ipv4.ip_local_port_range), so it needs {addresses} addresses. The server itself needs no ports."
            )?;
        }
        Ok(())
    }
}

fn row(to: &mut Formatter<'_>, what: &str, figure: &str) -> Result {
    writeln!(to, "  {what:<46}{figure:>15}")
}

fn whole(count: u64) -> String {
    grouped(real(count), 0)
}

fn mib(bytes: u64) -> String {
    grouped(real(bytes) / MIB, 1)
}

fn gib(bytes: u64) -> String {
    grouped(real(bytes) / GIB, 1) + " GiB"
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown with fewer digits than that"
)]
fn real(count: u64) -> f64 {
    count as f64
}
