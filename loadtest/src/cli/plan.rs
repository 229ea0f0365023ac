//! The arguments of `plan`.

use std::path::PathBuf;

use clap::Args;

/// `plan`
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The JSON of a `hold` (--json), for the bytes per connection
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Memory of the server's machine [default: this one's]
    #[arg(long, value_parser = size, value_name = "SIZE", help_heading = "The machine")]
    pub(crate) memory: Option<u64>,
    /// Memory reserved for everything except connections
    #[arg(long, default_value = "1GiB", value_parser = size, value_name = "SIZE", help_heading = "The machine")]
    pub(crate) reserve: u64,
    /// The server's descriptor limit, LimitNOFILE [default: this process's hard limit]
    #[arg(long, value_name = "Y", value_parser = clap::value_parser!(u64).range(1..), help_heading = "The machine")]
    pub(crate) descriptors: Option<u64>,
    /// Threads that hold streams [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_024), help_heading = "The machine")]
    pub(crate) shards: Option<u64>,
    /// Plan for this number instead of the largest that the machine holds
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) connections: Option<u64>,
    /// Raise the sysctls that are too low, until the next boot (needs root); without it nothing is changed
    #[arg(long)]
    pub(crate) apply: bool,
    /// Write the plan as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
}

/// Parses `512MiB`, `16GiB`, `1.5TiB` or plain bytes, up to a PiB.
fn size(text: &str) -> Result<u64, String> {
    const MOST_BYTES: f64 = 1_125_899_906_842_624.0;
    let units = [
        ("KiB", 1_024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ];
    let (number, unit_bytes) = units
        .iter()
        .find_map(|&(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)))
        .unwrap_or((text, 1.0));
    match number
        .trim()
        .parse::<f64>()
        .map(|number| number * unit_bytes)
    {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative and at most 2^50"
        )]
        Ok(bytes) if (0.0..=MOST_BYTES).contains(&bytes) => Ok(bytes as u64),
        _ => {
            Err("expected a size such as 512MiB, 16GiB or plain bytes, at most 1024TiB".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_a_limit() {
        assert_eq!(size("16GiB"), Ok(17_179_869_184));
        assert_eq!(size("1.5KiB"), Ok(1_536));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "GiB", "-1GiB", "16GB", "NaN", "inf", "1025TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
