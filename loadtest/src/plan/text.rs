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
            "a frame on its way, when all get an event",
            &grouped(cost.frame_bytes, 0),
        )?;
        row(to, "together", &grouped(cost.connection_bytes(), 0))?;
        writeln!(to, "and before the first one, in MiB")?;
        row(to, "the process", &mib(cost.process_bytes))?;
        row(
            to,
            "max_handshakes at its default",
            &mib(cost.handshake_bytes),
        )?;
        row(
            to,
            "history.max_bytes at its default",
            &mib(cost.history_bytes),
        )?;
        row(
            to,
            "all else on the machine (--reserve)",
            &mib(self.machine.reserve_bytes),
        )
    }

    fn holds(&self, to: &mut Formatter<'_>) -> Result {
        let (machine, capacity) = (&self.machine, &self.capacity);
        let (memory, descriptors) = (gib(machine.memory_bytes), whole(machine.descriptors));
        writeln!(to, "\nConnections held by")?;
        row(to, &format!("memory, {memory}"), &whole(capacity.memory))?;
        row(
            to,
            &format!("{descriptors} descriptors, one table"),
            &whole(capacity.descriptors_shared),
        )?;
        if machine.shards > 1 {
            let each = format!(
                "{descriptors} descriptors for each of {} shards",
                machine.shards
            );
            row(to, &each, &whole(capacity.descriptors_per_shard))?;
        }
        let planned = whole(self.connections);
        match self.bound {
            Bound::Memory => writeln!(to, "Planned: {planned}; memory binds."),
            Bound::Descriptors => writeln!(
                to,
                "Planned: {planned}; descriptors bind. What filling the memory takes: --connections {}",
                capacity.memory
            ),
            Bound::Asked => {
                let (needed, verdict) = (
                    gib(self.memory_needed_bytes),
                    if self.fits() { "fits" } else { "does not fit" },
                );
                writeln!(
                    to,
                    "Planned: {planned}, as asked; needs {needed} of {memory}: {verdict}."
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
                "  drain_timeout = \"{drain_s}s\"  # all of them at drain_rate = {DRAIN_RATE}; TimeoutStopSec beyond it"
            )?;
        }
        let raised = if self.limit_nofile > self.machine.descriptors {
            "  # more than is allowed now"
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
                .map_or("not readable here".to_owned(), joined);
            let verdict = match &limit.now {
                None => "look yourself",
                Some(_) if limit.falls_short() => "TOO LOW",
                Some(_) => "suffices",
            };
            writeln!(
                to,
                "  {} is {now}, wanted {}: {verdict}",
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
            return writeln!(to, "  Nothing to raise.");
        }
        writeln!(
            to,
            "--apply raises what is too low until the next boot; to keep, in /etc/sysctl.d/90-idlewild.conf:"
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
            "- The clients are taken to be on other machines: their end of a connection is not counted."
        )?;
        writeln!(
            to,
            "- A frame of more than some 60 bytes adds its length, for each client it is on its way to; a client that"
        )?;
        writeln!(to, "  reads too slowly holds up to max_backlog_bytes.")?;
        if self.kernel_bytes_are_halved {
            writeln!(
                to,
                "- Without a floor beside it, the kernel's bytes are half of both ends'; hold --vs-floor tells them apart."
            )?;
        }
        if real(self.connections) > FAR * self.measured_connections.unwrap_or(0.0) {
            writeln!(
                to,
                "- This is far beyond what was measured: hold more (-n) before you rely on it."
            )?;
        }
        writeln!(
            to,
            "- Handshakes are counted as {} at once, the default of max_handshakes.",
            whole(MAX_HANDSHAKES)
        )?;
        if let Some(ports) = self.local_ports {
            let addresses = whole(self.connections.div_ceil(ports.max(1)));
            writeln!(
                to,
                "- Whoever connects (a load generator, or nginx in front) needs a port for each connection: of {} a source",
                whole(ports)
            )?;
            writeln!(
                to,
                "  address (net.ipv4.ip_local_port_range here), these fill {addresses}. The server itself needs none."
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
