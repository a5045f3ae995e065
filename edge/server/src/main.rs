//! The binary `ringpost`: allocator and entry, nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use nix::sys::stat::{Mode, umask};
use ringpost_server::{cli, serve, signals};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::hold();
    // Whatever is made is for nobody else, also by libraries.
    umask(Mode::from_bits_truncate(0o077));
    cli::main(serve::serve)
}
