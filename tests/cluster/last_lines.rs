//! The ends of the servers' logs, which a test that fails shows. Most failures here cannot be repeated at will.

use std::fs;
use std::path::Path;
use std::thread;

/// Lines of each log.
const LINES: usize = 40;

/// Prints the end of a server's log if the test on this thread has failed.
#[allow(clippy::print_stderr)]
pub fn show_if_failed(server: &str, log: &Path) {
    if !thread::panicking() {
        return;
    }
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = &lines[lines.len().saturating_sub(LINES)..];
    eprintln!("---- the log of {server} ends with\n{}", end.join("\n"));
}
