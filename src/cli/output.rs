//! The output of commands.

use std::fmt::Display;
use std::io::Write;

/// Tells the person at the terminal something that is not the result. If nobody can read it, the command goes on, with the
/// same exit code.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a command's result. A closed pipe (`| head`) is an error, not a panic.
pub(super) fn print(result: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
