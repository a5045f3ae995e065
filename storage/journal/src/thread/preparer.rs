//! Prewrites and deletes segments beside the journal thread, so that no batch waits for it.

use std::{io, thread};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::{directory::Directory, thread::driver::Inbox};

/// Jobs that can be outstanding: the logic asks for one of each kind at a time.
const JOBS_MAX: usize = 2;

/// What the preparer does.
#[derive(Debug)]
pub(crate) enum Job {
    /// Prewrite the segment in this slot, with this size.
    Prepare(u32, u64),
    /// Delete the segment in this slot.
    Remove(u32),
}

/// Starts the thread. It ends when the sender is dropped.
pub(crate) fn start(
    directory: Directory,
    outcomes: Sender<Inbox>,
) -> io::Result<(Sender<Job>, thread::JoinHandle<()>)> {
    let (jobs, inbox) = bounded(JOBS_MAX);
    let thread = thread::Builder::new()
        .name("journal-prep".to_owned())
        .spawn(move || run(&directory, &inbox, &outcomes))?;
    Ok((jobs, thread))
}

fn run(directory: &Directory, jobs: &Receiver<Job>, outcomes: &Sender<Inbox>) {
    for job in jobs {
        let outcome = match job {
            Job::Prepare(slot, bytes) => Inbox::Prepared(slot, directory.prepare(slot, bytes)),
            Job::Remove(slot) => Inbox::Removed(slot, directory.remove(slot)),
        };
        if outcomes.send(outcome).is_err() {
            return; // the journal thread has ended
        }
    }
}
