//! The binary `ringpost`: allocator and entry, nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ringpost_server::{cli, serve, signals};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::hold();
    cli::main(serve::serve)
}
