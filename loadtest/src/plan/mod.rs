//! `plan`: calculates from a measured slope how many connections a machine holds, and the settings for them.
//!
//! [`capacity`] has the arithmetic, [`sysctl`] the kernel's limits, [`text`] the output. Nothing is changed
//! without `--apply`.

mod capacity;
mod sysctl;
mod text;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::cli;
use crate::files::write_whole;
use crate::run::Run;
use capacity::{Capacity, Cost, FdTables, MAX_HANDSHAKES, Machine};
use sysctl::{Limit, Needs};

const SYSCTLS: &str = "/proc/sys";
/// The kernel's limit of descriptors per table, which it counts in an `int`.
const MOST_DESCRIPTORS: u64 = 1 << 31;

/// The result.
#[derive(Debug, Serialize)]
struct Plan {
    /// The subject of the run, and its number of connections.
    subject: String,
    measured_connections: Option<f64>,
    /// True if no floor was measured, so that the kernel's bytes are half of those of both ends.
    kernel_bytes_are_halved: bool,
    cost: Cost,
    machine: Machine,
    capacity: Capacity,
    /// The number of connections to plan for.
    connections: u64,
    bound: Bound,
    memory_needed_bytes: u64,
    fd_tables: FdTables,
    limit_nofile: u64,
    /// Ports from which one address of this machine can connect.
    local_ports: Option<u64>,
    sysctls: Vec<Limit>,
}

/// The reason for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bound {
    Memory,
    Descriptors,
    /// `--connections`.
    Asked,
}

/// Prints the plan and raises the kernel's limits with `--apply`. Returns true if the machine can hold them.
pub(crate) fn run(args: &cli::Plan) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    run_with(args, Path::new(SYSCTLS), &mut stdout)
}

fn run_with(args: &cli::Plan, sysctls: &Path, out: &mut impl Write) -> Result<bool> {
    let plan = Plan::new(
        &Run::read(&args.from)?,
        machine(args)?,
        args.connections,
        sysctls,
    )?;
    if let Some(path) = &args.json {
        write_whole(path, &(serde_json::to_string_pretty(&plan)? + "\n"))?;
    }
    write!(out, "{plan}")?;
    if args.apply {
        ensure!(
            plan.fits(),
            "nothing was applied: the memory is too small for {} connections",
            plan.connections
        );
        let mut said = Ok(());
        sysctl::apply(&plan.sysctls, sysctls, |raised| {
            let line = writeln!(out, "{}: {} → {}", raised.name, raised.from, raised.to);
            said = std::mem::replace(&mut said, Ok(())).and(line);
        })?;
        said?;
        writeln!(out, "The kernel's limits are set until the next boot.")?;
    }
    out.flush()?;
    Ok(plan.fits())
}

impl Plan {
    fn new(run: &Run, machine: Machine, asked: Option<u64>, sysctls: &Path) -> Result<Self> {
        let cost = Cost::of(run)?;
        let capacity = machine.capacity(&cost);
        let most = capacity
            .descriptors_shared
            .max(capacity.descriptors_per_shard);
        let (connections, bound) = match asked {
            Some(asked) => (asked, Bound::Asked),
            None if capacity.memory <= most => (capacity.memory, Bound::Memory),
            None => (most, Bound::Descriptors),
        };
        match bound {
            _ if connections > 0 => {}
            Bound::Descriptors => bail!(
                "{} descriptors leave none for connections beside {MAX_HANDSHAKES} handshakes; raise --descriptors",
                machine.descriptors
            ),
            Bound::Memory | Bound::Asked => {
                bail!("no memory is left for connections; raise --memory or lower --reserve")
            }
        }
        // One table is simpler. A table per shard, if only that fits the present limit.
        let fd_tables = if connections > capacity.descriptors_shared
            && connections <= capacity.descriptors_per_shard
        {
            FdTables::PerShard
        } else {
            FdTables::Shared
        };
        let limit_nofile = machine.descriptors_for(connections, fd_tables);
        let needs = Needs {
            connections,
            limit_nofile,
            handshakes: MAX_HANDSHAKES,
        };
        Ok(Self {
            subject: run.subject.clone(),
            measured_connections: run.measured.figure("connected"),
            kernel_bytes_are_halved: run.floor.is_none(),
            memory_needed_bytes: cost.memory_bytes(connections, machine.reserve_bytes),
            cost,
            machine,
            capacity,
            connections,
            bound,
            fd_tables,
            limit_nofile,
            local_ports: sysctl::local_ports(sysctls),
            sysctls: sysctl::limits(&needs, sysctls),
        })
    }

    /// Returns true if memory suffices. Descriptor limits can be raised, but memory cannot.
    fn fits(&self) -> bool {
        self.connections <= self.capacity.memory
    }
}

/// The machine described by the command line, or this one.
fn machine(args: &cli::Plan) -> Result<Machine> {
    let memory_bytes = match args.memory {
        Some(bytes) => bytes,
        None => memory_total()?,
    };
    let hard_limit = || {
        getrlimit(Resource::Nofile)
            .maximum
            .map_or(MOST_DESCRIPTORS, |most| most.min(MOST_DESCRIPTORS))
    };
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    Ok(Machine {
        memory_bytes,
        reserve_bytes: args.reserve,
        descriptors: args.descriptors.unwrap_or_else(hard_limit),
        shards: args.shards.unwrap_or_else(cores),
    })
}

fn memory_total() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.context("/proc/meminfo: no MemTotal; set --memory")? * 1_024)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use sysctl::tests::small;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::files::tests::Scratch;

    const HOLD: &str = r#"{"scenario": "hold", "subject": "idlewild", "connected": 15000, "pss_mib": {"warm": 6.5},
        "user_bytes_per_connection": 146.0, "kernel_bytes_per_connection": 3974.0, "floor": {}}"#;

    fn plan(hold: &str, flags: &str, sysctls: &Path) -> Result<(bool, String)> {
        let scratch = Scratch::new();
        let file = scratch.put("hold.json", hold);
        let line = format!(
            "load plan --memory 16GiB --shards 4 --from {} {flags}",
            file.display()
        );
        let line = line.split_ascii_whitespace();
        let Command::Plan(args) = Cli::try_parse_from(line)?.command else {
            panic!("not plan")
        };
        let mut out = Vec::new();
        let fits = run_with(&args, sysctls, &mut out)?;
        Ok((fits, String::from_utf8(out)?))
    }

    fn every_file(dir: &Path) -> Vec<(std::path::PathBuf, String)> {
        let entries = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| match std::fs::read_to_string(&path) {
                Ok(text) => vec![(path, text)],
                Err(_) => every_file(&path),
            })
            .collect()
    }

    #[test]
    fn without_apply_nothing_is_written() {
        let root = small();
        let before = every_file(&root.0);
        let (fits, text) = plan(HOLD, "--descriptors 1048576", &root.0).unwrap();
        assert!(fits && text.contains("net.core.somaxconn = 4096"), "{text}");
        assert_eq!(every_file(&root.0), before);
    }

    #[test]
    fn apply_raises_and_prints_the_limits_that_are_too_low() {
        let root = small();
        let (_, text) = plan(HOLD, "--descriptors 1048576 --apply", &root.0).unwrap();
        assert!(text.contains("net.core.somaxconn: 128 → 4096"), "{text}");
        assert!(!text.contains("tcp_max_syn_backlog: 8192"), "{text}");
        let after = std::fs::read_to_string(root.0.join("net/core/somaxconn")).unwrap();
        assert_eq!(after, "4096");
    }

    #[test]
    fn the_smaller_of_memory_and_descriptors_is_the_limit() {
        let root = small();
        let (_, text) = plan(HOLD, "--descriptors 20000", &root.0).unwrap();
        assert!(
            text.contains("limited by descriptors") && text.contains("per-shard"),
            "{text}"
        );
        let (_, text) = plan(HOLD, "--descriptors 10000000", &root.0).unwrap();
        assert!(
            text.contains("limited by memory") && text.contains("\"shared\""),
            "{text}"
        );
    }

    #[test]
    fn a_plan_that_exceeds_memory_is_shown_and_not_applied() {
        let root = small();
        let before = every_file(&root.0);
        let (fits, text) = plan(HOLD, "--connections 5000000", &root.0).unwrap();
        assert!(!fits && text.contains("does not fit"), "{text}");
        assert!(plan(HOLD, "--connections 5000000 --apply", &root.0).is_err());
        assert_eq!(every_file(&root.0), before);
    }

    #[test]
    fn a_run_without_a_usable_slope_is_refused() {
        let refused = |hold: &str| plan(hold, "", &small().0).unwrap_err().to_string();
        let idle = refused(r#"{"scenario": "idle", "connected": 5}"#);
        assert!(
            idle.contains("hold.json") && idle.contains("user_bytes_per_connection"),
            "{idle}"
        );
        let flat = refused(&HOLD.replace("146.0", "0"));
        assert!(flat.contains("hold more"), "{flat}");
        assert!(refused(&HOLD.replace("3974.0", "-20")).contains("hold more"));
    }

    #[test]
    fn a_machine_that_is_too_small_for_one_connection_is_refused() {
        let refused = |flags| plan(HOLD, flags, &small().0).unwrap_err().to_string();
        assert!(refused("--reserve 16GiB").contains("--reserve"));
        assert!(refused("--descriptors 100").contains("--descriptors"));
    }

    #[test]
    fn the_plan_is_json_too() {
        let scratch = small();
        let json = scratch.0.join("plan.json");
        let flags = format!("--descriptors 20000 --json {}", json.display());
        plan(HOLD, &flags, &scratch.0).unwrap();
        let plan: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
        assert_eq!(plan["bound"], "descriptors");
        assert_eq!(plan["capacity"]["descriptors_shared"], 18_720);
        assert_eq!(plan["fd_tables"], "per-shard");
    }
}
