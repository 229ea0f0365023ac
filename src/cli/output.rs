//! The output of commands.

use std::fmt::Display;
use std::io::Write;

/// Prints a command's result. A closed pipe (`| head`) is an error, not a panic.
pub(super) fn print(result: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
