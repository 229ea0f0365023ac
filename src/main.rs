//! The `idlewild` command.

use std::process::ExitCode;

/// Small objects, many threads, and memory that is returned on request (`sys::collect_memory`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    idlewild::cli::main()
}
