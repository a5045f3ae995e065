//! `cargo xtask tour`: runs `ringpost try`, and writes what it prints into docs/TOUR.md.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::passage::Passage;
use crate::server;

/// Where the document keeps the transcript.
const TRANSCRIPT: Passage = Passage {
    document: "docs/TOUR.md",
    begin: "<!-- transcript:begin -->\n",
    end: "<!-- transcript:end -->\n",
};

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the transcript into docs/TOUR.md
    #[arg(long)]
    write: bool,
}

/// Runs the tour and shows it.
///
/// # Errors
/// If something is not as the tour promises.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    server::build(repository)?;
    let output = Command::new(repository.join("target/release/ringpost"))
        .arg("try")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start ringpost")?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    ensure!(output.status.success(), "`ringpost try` ended with {}", output.status);
    if args.write {
        fs::write(repository.join(TRANSCRIPT.document), TRANSCRIPT.filled(repository, &text)?)?;
    }
    Ok(())
}
