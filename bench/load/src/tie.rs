//! The tie between a server and the bench that started it: no server outlives the bench, however
//! that ends. A bench that is killed runs no `drop`, so the kernel does it (prctl(2),
//! PR_SET_PDEATHSIG: kept over an exec that changes no user).
//!
//! ```text
//!   bench -- starts --> ringpost-bench tied --to BENCH -- SERVER
//!                         asks the kernel, looks whether the bench is still there, becomes SERVER
//! ```
//! The look is what makes it whole: the kernel tells nothing of a death before it was asked.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::exit::Outcome;

/// The same command, tied to this process. Its end is that of the thread that calls this.
///
/// # Errors
/// When the bench cannot tell where its own binary is.
pub(crate) fn tied(command: &Command) -> anyhow::Result<Command> {
    let mut tied = Command::new(std::env::current_exe()?);
    tied.args(["tied", "--to", &Pid::this().to_string(), "--"]);
    tied.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    Ok(tied)
}

/// Ties this process to its parent, the bench, and becomes the server.
///
/// # Errors
/// When the bench is gone, or the server cannot be started.
pub(crate) fn become_server(bench: i32, server: &[OsString]) -> anyhow::Result<Outcome> {
    set_pdeathsig(Signal::SIGKILL).context("asking the kernel for the bench's death")?;
    ensure!(getppid() == Pid::from_raw(bench), "the bench is gone");
    let (program, arguments) = server.split_first().context("no server is named")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
