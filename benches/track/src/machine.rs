//! The properties of a machine that instruction counts and kernel bytes depend on. Figures of a machine
//! with other properties cannot be compared, so the recorded commit is measured
//! again.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A machine and its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// The processor's extensions that libraries check at run time.
    pub(crate) features: String,
    pub(crate) kernel: String,
    /// The C library, which copies and compares memory.
    pub(crate) libc: String,
    pub(crate) rustc: String,
    pub(crate) valgrind: String,
}

/// The flags that glibc and aws-lc check. The other hundred change with every kernel.
const FEATURES: &[&str] = &[
    "adx",
    "aes",
    "asimd",
    "avx",
    "avx2",
    "avx512bw",
    "avx512f",
    "avx512ifma",
    "avx512vl",
    "bmi1",
    "bmi2",
    "erms",
    "fma",
    "fsrm",
    "pclmulqdq",
    "pmull",
    "rtm",
    "sha2",
    "sha512",
    "sha_ni",
    "sse4_1",
    "sse4_2",
    "ssse3",
    "sve",
    "vaes",
    "vpclmulqdq",
];

impl Machine {
    /// The current machine.
    pub(crate) fn this() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            cpu: model(&cpuinfo),
            features: features(&cpuinfo),
            kernel: kernel.trim().to_owned(),
            libc: first_line("getconf", &["GNU_LIBC_VERSION"])?,
            rustc: first_line("rustc", &["--version"])?,
            valgrind: first_line("valgrind", &["--version"])?,
        })
    }

    /// The differences from `other`, as text.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("cpu", &other.cpu, &self.cpu),
            ("cpu features", &other.features, &self.features),
            ("kernel", &other.kernel, &self.kernel),
            ("libc", &other.libc, &self.libc),
            ("rustc", &other.rustc, &self.rustc),
            ("valgrind", &other.valgrind, &self.valgrind),
        ];
        pairs
            .into_iter()
            .filter(|(_, then, now)| then != now)
            .map(|(what, then, now)| format!("{what}: recorded with {then}, here {now}"))
            .collect()
    }
}

fn value<'a>(cpuinfo: &'a str, keys: &[&str]) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        keys.contains(&key.trim()).then_some(value.trim())
    })
}

/// Arm has only numbers instead of a name.
fn model(cpuinfo: &str) -> String {
    value(cpuinfo, &["model name"]).map_or_else(
        || {
            let part = |key| value(cpuinfo, &[key]).unwrap_or("?");
            format!("Arm {} {}", part("CPU implementer"), part("CPU part"))
        },
        ToOwned::to_owned,
    )
}

fn features(cpuinfo: &str) -> String {
    let flags = value(cpuinfo, &["flags", "Features"]).unwrap_or_default();
    let present: Vec<&str> = FEATURES
        .iter()
        .copied()
        .filter(|feature| flags.split_ascii_whitespace().any(|flag| flag == *feature))
        .collect();
    present.join(" ")
}

fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} cannot be run; scripts/bench installs it"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => bail!("{program} {} says nothing", arguments.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str =
        "processor\t: 0\nmodel name\t: A CPU @ 2GHz\nflags\t\t: fpu sse4_2 avx2 avx\n";

    #[test]
    fn the_cpu_is_identified_by_name_and_relevant_features() {
        assert_eq!(model(CPUINFO), "A CPU @ 2GHz");
        assert_eq!(features(CPUINFO), "avx avx2 sse4_2");
        assert_eq!(
            model("CPU implementer : 0x41\nCPU part : 0xd0c\n"),
            "Arm 0x41 0xd0c"
        );
    }

    #[test]
    fn another_compiler_makes_another_machine() {
        let then = Machine {
            rustc: "rustc 1.90".to_owned(),
            ..Machine::default()
        };
        let now = Machine {
            rustc: "rustc 1.95".to_owned(),
            ..Machine::default()
        };
        assert_eq!(
            now.differences(&then),
            ["rustc: recorded with rustc 1.90, here rustc 1.95"]
        );
        assert!(now.differences(&now).is_empty());
    }
}
