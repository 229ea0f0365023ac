//! Warnings and errors of all servers in this process. Tests look for a name that only their own server
//! has.

use std::sync::LazyLock;

use parking_lot::Mutex;
use tracing::Level;
use tracing_subscriber::fmt;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static LISTENING: LazyLock<()> = LazyLock::new(|| {
    fmt::fmt()
        .with_max_level(Level::ERROR)
        .with_ansi(false)
        .with_writer(|| Lines)
        .init();
});

struct Lines;

/// Starts recording.
pub fn listen() {
    LazyLock::force(&LISTENING);
}

/// The lines that contain this text.
pub fn lines(text: &str) -> Vec<String> {
    let lines = String::from_utf8(LINES.lock().clone()).unwrap();
    let told = lines.lines().filter(|line| line.contains(text));
    told.map(ToOwned::to_owned).collect()
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
