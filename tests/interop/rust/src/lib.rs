//! The arguments and the output of a client of tests/interop, as `tests/interop/clients/README.md` describes them.

use std::io::Write;

use serde_json::{Value, json};

/// The arguments of the command line.
pub struct Arguments {
    /// The stream's address.
    pub url: String,
    /// For the `Authorization` header; empty if the URL has it.
    pub token: String,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Panics
    /// If an argument is missing.
    pub fn read() -> Self {
        let mut arguments = std::env::args().skip(1);
        let mut next = |name| {
            arguments
                .next()
                .unwrap_or_else(|| panic!("{name} is missing"))
        };
        Self {
            url: next("URL"),
            token: next("TOKEN"),
        }
    }
}

/// Prints that the stream is open.
pub fn open() {
    print(&json!({"open": true}));
}

/// Prints an event.
pub fn event(name: &str, id: Option<&str>, data: &str) {
    print(&json!({"event": name, "id": id.unwrap_or_default(), "data": data}));
}

/// Prints that the server refused the stream.
pub fn refused(status: u16) {
    print(&json!({"refused": status}));
}

/// Prints that the stream ended or could not be opened. The client reconnects.
pub fn away(why: &str) {
    print(&json!({"away": why}));
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .expect("the reader of stdout is open");
}
