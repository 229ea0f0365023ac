//! The `idlewild` command.

fn main() {}
