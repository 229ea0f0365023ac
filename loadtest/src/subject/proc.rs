//! Reads the kernel's statistics: PSS, CPU time, slab objects.
//!
//! - **User bytes** are the proportional set size of `/proc/PID/smaps_rollup`: private pages and a share
//!   of the shared ones, without page tables and kernel memory. A part of them are pages of files: the program
//!   and its libraries, as far as they were used.
//! - **CPU** is user and system time of `/proc/PID/stat`, for all threads, in ticks of 10 ms.
//! - **Kernel bytes** are live objects times object size, for the caches in `/proc/slabinfo` that sockets
//!   use. They cover the whole machine, and so both ends of every connection. Dentries and inode labels are
//!   counted as one per socket inode: their caches contain those of every file, and a monitor that reads
//!   `/proc/PID/fd` adds one per descriptor. Kernels merge caches of the same object size, so
//!   `eventpoll_epi` may contain the client's port buckets as well.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// Bytes by slab cache.
pub(crate) type Slab = BTreeMap<String, i64>;

/// Limit of processes per server that are read.
const MAX_PROCESSES: usize = 1_024;

/// The caches that a connection uses; caches that vary for other reasons are omitted.
const CACHES: &[&str] = &[
    "TCP",
    "TCPv6",
    "dentry",
    "filp",
    "ep_head",
    "sock_inode_cache",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
];
/// Caches with exactly one object per socket, and one for every other file on the machine.
const ONE_A_SOCKET: &[&str] = &["dentry", "lsm_inode_cache"];
const CACHE_PREFIXES: &[&str] = &["skbuff", "eventpoll", "lsm_", "kmalloc-"];

/// Proportional set size of `pid` and its descendants, in bytes.
pub(crate) fn pss_bytes(pid: u32) -> Result<u64> {
    sum_of(pid, "Pss:")
}

/// The part of it that is pages of files.
pub(crate) fn pss_file_bytes(pid: u32) -> Result<u64> {
    sum_of(pid, "Pss_File:")
}

/// A line of the rollup, added up over `pid` and its descendants, in bytes.
fn sum_of(pid: u32, key: &str) -> Result<u64> {
    tree(pid)?.into_iter().try_fold(0, |sum, pid| {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let bytes = parse_rollup(&text, key).with_context(|| format!("{path}: no {key}"))?;
        Ok(sum + bytes)
    })
}

/// User and system seconds of `pid` and its descendants, including ended threads.
pub(crate) fn cpu_s(pid: u32) -> Result<f64> {
    let ticks = tree(pid)?.into_iter().try_fold(0, |sum, pid| {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let ticks = parse_cpu_ticks(&text).with_context(|| format!("{path}: no times"))?;
        anyhow::Ok(sum + ticks)
    })?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of a process, far below 2^53"
    )]
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `pid` and all its descendants: servers such as nginx work in child processes.
fn tree(pid: u32) -> Result<Vec<u32>> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next).filter(|_| next < MAX_PROCESSES) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        let tasks = tasks.with_context(|| format!("no process {pid}"))?;
        for task in tasks.flatten() {
            // A thread may end meanwhile, and some kernels have no such file.
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    Ok(found)
}

/// Bytes in the socket-related slab caches; `None` if only root may read them.
pub(crate) fn slab() -> Option<Slab> {
    fs::read_to_string("/proc/slabinfo")
        .ok()
        .map(|text| parse_slab(&text))
}

fn parse_rollup(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn parse_cpu_ticks(text: &str) -> Option<u64> {
    // The command's name is in parentheses, and may contain spaces and parentheses.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_slab(text: &str) -> Slab {
    let caches: BTreeMap<&str, (i64, i64)> = text.lines().filter_map(cache).collect();
    let sockets = caches.get("sock_inode_cache").map(|&(objects, _)| objects);
    let counted = caches.into_iter().filter(|(name, _)| {
        CACHES.contains(name) || CACHE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    let bytes = counted.map(|(name, (objects, object_bytes))| {
        let objects = if ONE_A_SOCKET.contains(&name) {
            sockets.unwrap_or(objects)
        } else {
            objects
        };
        (name.to_owned(), objects * object_bytes)
    });
    bytes.collect()
}

/// Parses a line of `/proc/slabinfo`: name, live objects, object size.
fn cache(line: &str) -> Option<(&str, (i64, i64))> {
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next()?;
    let objects = fields.next()?.parse().ok()?;
    let object_bytes = fields.nth(1)?.parse().ok()?;
    Some((name, (objects, object_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_rollup_that_was_asked_for_is_read() {
        let text = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:  2048 kB\nPss:     1234 kB\nPss_Dirty: 9 kB\n\
                    Pss_File:  7 kB\n";
        assert_eq!(parse_rollup(text, "Pss:"), Some(1234 * 1024));
        assert_eq!(parse_rollup(text, "Pss_File:"), Some(7 * 1024));
    }

    #[test]
    fn a_process_name_may_contain_any_characters() {
        let text = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 100 1 1";
        assert_eq!(parse_cpu_ticks(text), Some(175));
    }

    #[test]
    fn socket_caches_are_counted_in_bytes() {
        let text = "slabinfo - version: 2.1\n# name <active_objs>\nTCP 26 26 2368 13 8 : tunables\n\
                    inode_cache 195 195 624 13 2 :\nkmalloc-64 10 10 64 64 1 :\n";
        assert_eq!(
            parse_slab(text),
            Slab::from([("TCP".to_owned(), 61_568), ("kmalloc-64".to_owned(), 640)])
        );
    }

    #[test]
    fn cached_inodes_of_files_are_not_counted_as_sockets() {
        let text = "dentry 900 900 192 21 1 :\nsock_inode_cache 3 3 832 19 4 :\nlsm_inode_cache 800 800 32 128 1 :\n";
        let expected = [
            ("dentry", 576),
            ("lsm_inode_cache", 96),
            ("sock_inode_cache", 2_496),
        ];
        assert_eq!(
            parse_slab(text),
            expected
                .map(|(name, bytes)| (name.to_owned(), bytes))
                .into()
        );
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        let (all, of_files) = (pss_bytes(pid).unwrap(), pss_file_bytes(pid).unwrap());
        assert!(of_files > 0 && of_files < all, "{of_files} of {all}");
        assert!(cpu_s(pid).unwrap() >= 0.0);
    }
}
