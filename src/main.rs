//! The `idlewild` command.

use std::process::ExitCode;

/// Fast for small objects and many threads, and returns memory on request (`sys::collect_memory`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    idlewild::cli::main()
}
