//! Statistics of this process, from `/proc`.

use std::fs;

/// Clock ticks per second in `/proc/self/stat` (`USER_HZ`), which is fixed on Linux.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4_096;

/// Statistics of this process; a value is 0 if it cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) threads: u64,
    /// Open descriptors in the main thread's table.
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
}

pub(super) fn read() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command, in parentheses, may contain anything; the fields after it are numbers.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    // proc_pid_stat(5) numbers the fields from 1; two of them are cut off here.
    let field = |number: usize| -> u64 {
        fields
            .get(number - 3)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    };
    #[allow(clippy::cast_precision_loss)] // exact for centuries of CPU time
    let cpu_seconds = (field(14) + field(15)) as f64 / TICKS_PER_S;
    Process {
        cpu_seconds,
        resident_bytes: field(24) * PAGE_BYTES,
        virtual_bytes: field(23),
        threads: field(20),
        open_fds: open_fds(),
        max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .unwrap_or(u64::MAX),
    }
}

/// Open descriptors in the main thread's table.
fn open_fds() -> u64 {
    let directory = "/proc/self/fd";
    match fs::metadata(directory) {
        // Linux 6.2 and later report the number; listing a million takes most of a second.
        Ok(metadata) if metadata.len() > 0 => metadata.len(),
        _ => fs::read_dir(directory).map_or(0, |entries| entries.count() as u64),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn statistics_of_the_process_are_plausible() {
        let process = super::read();
        assert!(process.resident_bytes > 100_000 && process.resident_bytes < process.virtual_bytes);
        assert!(process.threads >= 1 && process.open_fds >= 3 && process.max_fds >= 3);
    }
}
