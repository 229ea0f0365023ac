//! What the kernel says of a process and of itself: PSS, CPU time, slab objects.
//!
//! - **User bytes** are the proportional set size of `/proc/PID/smaps_rollup`: private pages and a share
//!   of the shared ones, page tables and kernel memory not included.
//! - **CPU** is user and system time of `/proc/PID/stat`, whole threads' work, in ticks of 10 ms.
//! - **Kernel bytes** are live objects times object size of the caches in `/proc/slabinfo` that sockets
//!   use. They are the machine's: both ends of every connection, whoever made them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// Bytes by slab cache.
pub(crate) type Slab = BTreeMap<String, i64>;

/// The caches a held connection draws on; those that merely breathe with the machine are left out.
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
const CACHE_PREFIXES: &[&str] = &["skbuff", "eventpoll", "lsm_", "kmalloc-"];

/// Proportional set size of `pid` in bytes.
pub(crate) fn pss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_pss(&text).with_context(|| format!("{path}: no Pss"))
}

/// User and system seconds that `pid` has used, its ended threads included.
pub(crate) fn cpu_s(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = parse_cpu_ticks(&text).with_context(|| format!("{path}: no times"))?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of a process, far below 2^53"
    )]
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes in the socket-related slab caches; `None` where only root may read them.
pub(crate) fn slab() -> Option<Slab> {
    fs::read_to_string("/proc/slabinfo")
        .ok()
        .map(|text| parse_slab(&text))
}

fn parse_pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn parse_cpu_ticks(text: &str) -> Option<u64> {
    // The command's name, in parentheses, may hold spaces and parentheses itself.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_slab(text: &str) -> Slab {
    let caches = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        let counted =
            CACHES.contains(&name) || CACHE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let objects: i64 = fields.next()?.parse().ok()?;
        let object_bytes: i64 = fields.nth(1)?.parse().ok()?;
        counted.then(|| (name.to_owned(), objects * object_bytes))
    });
    caches.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollups_pss_line_is_read_not_its_relatives() {
        let text = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:  2048 kB\nPss:     1234 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(parse_pss(text), Some(1234 * 1024));
    }

    #[test]
    fn a_process_name_may_hold_anything() {
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
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(pss_bytes(pid).unwrap() > 0);
        assert!(cpu_s(pid).unwrap() >= 0.0);
    }
}
