//! The kernel's limits that matter for many connections: the value needed, the present value, and raising it
//! on request. Limits are never lowered.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// Files of the rest of the system, within `fs.file-max`.
const OTHER_FILES: u64 = 65_536;
/// The server's listen backlog, which `net.core.somaxconn` limits.
const ACCEPT_QUEUE: u64 = 4_096;
/// Tracked connections of the rest of the system.
const OTHER_TRACKED: u64 = 16_384;

/// The values from which the limits are calculated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) connections: u64,
    /// Per descriptor table: LimitNOFILE.
    pub(super) limit_nofile: u64,
    pub(super) handshakes: u64,
}

/// A limit. `tcp_mem` has three values, the others have one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    /// `None` if this machine does not show it.
    pub(super) now: Option<Vec<u64>>,
    pub(super) wanted: Vec<u64>,
    pub(super) why: &'static str,
}

/// A limit that was raised.
#[derive(Debug, PartialEq)]
pub(super) struct Raised {
    pub(super) name: &'static str,
    pub(super) from: String,
    pub(super) to: String,
}

/// All limits, read from `root`, which is `/proc/sys`.
pub(super) fn limits(needs: &Needs, root: &Path) -> Vec<Limit> {
    let n = needs.connections;
    let all: [(&'static str, Vec<u64>, &'static str); 6] = [
        (
            "fs.nr_open",
            vec![needs.limit_nofile],
            "the maximum for LimitNOFILE",
        ),
        (
            "fs.file-max",
            vec![n + needs.handshakes + OTHER_FILES],
            "open files of the whole machine: connections, handshakes and the rest of the system",
        ),
        (
            "net.ipv4.tcp_mem",
            vec![n * 3 / 4, n, n * 3 / 2],
            "in pages; a queued frame, however small, counts as a whole page, and an event to all puts one into \
             each queue",
        ),
        (
            "net.core.somaxconn",
            vec![ACCEPT_QUEUE],
            "limits the server's accept queue, where connections wait during a rush of reconnects",
        ),
        (
            "net.ipv4.tcp_max_syn_backlog",
            vec![ACCEPT_QUEUE],
            "the same for half-open connections; applies only if SYN cookies are off",
        ),
        (
            "net.netfilter.nf_conntrack_max",
            vec![n * 2 + OTHER_TRACKED],
            "the firewall keeps an entry per connection, and for two minutes per closed one, so a reconnect of all \
             clients needs two each (or do not track the port)",
        ),
    ];
    all.into_iter()
        .map(|(name, wanted, why)| Limit {
            name,
            now: read(root, name).filter(|now| now.len() == wanted.len()),
            wanted,
            why,
        })
        // Without connection tracking there is no limit.
        .filter(|limit| limit.now.is_some() || !limit.name.starts_with("net.netfilter"))
        .collect()
}

impl Limit {
    /// Returns true if it is known to be too low.
    pub(super) fn falls_short(&self) -> bool {
        let short = |now: &Vec<u64>| {
            now.iter()
                .zip(&self.wanted)
                .any(|(now, wanted)| now < wanted)
        };
        self.now.as_ref().is_some_and(short)
    }

    /// The values to write: those needed, or the present ones if they are higher.
    pub(super) fn target(&self) -> String {
        match &self.now {
            Some(now) => {
                let raised = now.iter().zip(&self.wanted);
                joined(
                    &raised
                        .map(|(now, wanted)| *now.max(wanted))
                        .collect::<Vec<_>>(),
                )
            }
            None => joined(&self.wanted),
        }
    }

    /// Raises the limit if it is too low.
    fn raise(&self, root: &Path) -> Result<Option<Raised>> {
        let Some(now) = self.now.as_ref().filter(|_| self.falls_short()) else {
            return Ok(None);
        };
        let (from, to) = (joined(now), self.target());
        fs::write(path(root, self.name), &to).with_context(|| {
            format!(
                "{}: cannot be set to {to}; this needs root, outside a container",
                self.name
            )
        })?;
        let after = read(root, self.name).map(|after| joined(&after));
        ensure!(
            after.as_deref() == Some(to.as_str()),
            "{}: was set to {to}, but is {}",
            self.name,
            after.as_deref().unwrap_or("not readable")
        );
        Ok(Some(Raised {
            name: self.name,
            from,
            to,
        }))
    }
}

/// Raises all limits that are too low, in order; `told` is called after each.
pub(super) fn apply(limits: &[Limit], root: &Path, mut told: impl FnMut(&Raised)) -> Result<()> {
    for limit in limits {
        if let Some(raised) = limit.raise(root)? {
            told(&raised);
        }
    }
    Ok(())
}

/// Parses the values of a numeric sysctl.
fn read(root: &Path, name: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path(root, name)).ok()?;
    let values: Option<Vec<u64>> = text
        .split_ascii_whitespace()
        .map(|value| value.parse().ok())
        .collect();
    values.filter(|values| !values.is_empty())
}

/// The number of ports from which this machine may connect to one address, if known.
pub(super) fn local_ports(root: &Path) -> Option<u64> {
    match read(root, "net.ipv4.ip_local_port_range")?.as_slice() {
        [first, last] => Some(last.saturating_sub(*first) + 1),
        _ => None,
    }
}

fn path(root: &Path, name: &str) -> PathBuf {
    root.join(name.replace('.', "/"))
}

pub(super) fn joined(values: &[u64]) -> String {
    let texts: Vec<String> = values.iter().map(u64::to_string).collect();
    texts.join(" ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    const NEEDS: Needs = Needs {
        connections: 1_000_000,
        limit_nofile: 1_001_280,
        handshakes: 1_024,
    };

    /// The `/proc/sys` of a small machine.
    pub(in crate::plan) fn small() -> Scratch {
        let root = Scratch::new();
        for (name, text) in [
            ("fs/nr_open", "1048576\n"),
            ("fs/file-max", "9223372036854775807\n"),
            ("net/ipv4/tcp_mem", "190000\t253333\t1600000\n"),
            ("net/core/somaxconn", "128\n"),
            ("net/ipv4/tcp_max_syn_backlog", "8192\n"),
            ("net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ] {
            root.put(name, text);
        }
        root
    }

    fn short(limits: &[Limit]) -> Vec<&str> {
        let short = limits.iter().filter(|limit| limit.falls_short());
        short.map(|limit| limit.name).collect()
    }

    #[test]
    fn only_limits_that_are_too_low_are_raised_and_none_is_lowered() {
        let root = small();
        let limits = limits(&NEEDS, &root.0);
        assert_eq!(short(&limits), ["net.ipv4.tcp_mem", "net.core.somaxconn"]);
        let mut told = Vec::new();
        apply(&limits, &root.0, |raised| {
            told.push((raised.from.clone(), raised.to.clone()));
        })
        .unwrap();
        assert_eq!(
            told,
            [
                (
                    "190000 253333 1600000".to_owned(),
                    "750000 1000000 1600000".to_owned()
                ),
                ("128".to_owned(), "4096".to_owned()),
            ]
        );
        assert_eq!(
            read(&root.0, "fs.file-max"),
            Some(vec![9_223_372_036_854_775_807])
        );
        assert_eq!(
            read(&root.0, "net.ipv4.tcp_max_syn_backlog"),
            Some(vec![8_192])
        );
        assert!(short(&super::limits(&NEEDS, &root.0)).is_empty());
    }

    #[test]
    fn connection_tracking_is_mentioned_only_if_it_exists() {
        let root = small();
        let named = |root: &Path| {
            limits(&NEEDS, root)
                .iter()
                .any(|limit| limit.name.contains("conntrack"))
        };
        assert!(!named(&root.0));
        root.put("net/netfilter/nf_conntrack_max", "262144");
        assert!(named(&root.0));
        let limits = limits(&NEEDS, &root.0);
        assert_eq!(limits[5].wanted, [2_016_384]);
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_listed_and_not_changed() {
        let root = Scratch::new();
        let limits = limits(&NEEDS, &root.0);
        assert_eq!((limits.len(), short(&limits).len()), (5, 0));
        apply(&limits, &root.0, |raised| panic!("{raised:?}")).unwrap();
        assert_eq!(fs::read_dir(&root.0).unwrap().count(), 0);
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_an_error_with_the_remedy() {
        let root = small();
        let limits = limits(&NEEDS, &root.0);
        fs::remove_file(root.0.join("net/ipv4/tcp_mem")).unwrap();
        fs::create_dir(root.0.join("net/ipv4/tcp_mem")).unwrap();
        let error = apply(&limits, &root.0, |_| {}).unwrap_err().to_string();
        assert!(
            error.contains("net.ipv4.tcp_mem") && error.contains("root"),
            "{error}"
        );
    }

    #[test]
    fn local_ports_include_both_ends_of_the_range() {
        assert_eq!(local_ports(&small().0), Some(28_232));
    }
}
