//! The `idlewild` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: idlewild::sys::Allocator = idlewild::sys::Allocator;

fn main() -> ExitCode {
    idlewild::cli::main()
}
