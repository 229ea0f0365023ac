//! What commands print.

use std::fmt::Display;
use std::io::Write;

/// Prints a command's result. A reader that went away (`| head`) is an error, not a panic.
pub(super) fn say(result: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
