//! The `tidegate` binary: what the command line asks for, and its exit code.

use std::process::ExitCode;

/// Shards and the control thread allocate at the same time; mimalloc keeps a heap for each thread, so none waits for another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::command::run()
}
