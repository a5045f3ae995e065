//! Whether what an engine shows is the whole store. fjall makes a keyspace or a log that it does not
//! find anew, empty, and deletes what it does not know: files are looked at before it opens them, and
//! what it shows of them after.
//!
//! Every commit writes its number into every space, and the witness says which commits are durable.
//! So the spaces show the same number, no lower than the witness's, or something is missing.
#![allow(clippy::disallowed_methods, reason = "what is missing is files")]

use std::path::Path;
use std::{fs, io};

use fjall::Keyspace;

use super::opening::LOG_EXTENSION;
use super::witness::{Identity, Witness};
use super::{OpenError, Space};
use crate::layout;

/// The database's folder of keyspaces, each in a folder of its own named by a number.
const KEYSPACES: &str = "keyspaces";

/// The file of a keyspace that says which of its files count; one without it is deleted.
const KEYSPACE_MARKER: &str = "current";

/// The file that fjall writes last when it makes a database.
const ENGINE_MARKER: &str = "version";

/// Looks for the files without which fjall would make something anew, in the database's `folder` of a
/// store that was made whole.
///
/// # Errors
/// If one is missing, with its name.
pub(super) fn check_files(directory: &Path, folder: &Path) -> Result<(), OpenError> {
    let missing = missing_file(folder).map_err(|error| OpenError::io(directory, error))?;
    match missing {
        Some(name) => Err(OpenError::damaged(directory, format!("the engine's {name} is missing"))),
        None => Ok(()),
    }
}

fn missing_file(folder: &Path) -> io::Result<Option<String>> {
    if !folder.join(ENGINE_MARKER).exists() {
        return Ok(Some(format!("file `{ENGINE_MARKER}`")));
    }
    let mut keyspaces = 0;
    for entry in fs::read_dir(folder.join(KEYSPACES))? {
        let entry = entry?;
        keyspaces += 1;
        if !entry.path().join(KEYSPACE_MARKER).exists() {
            let name = entry.file_name();
            return Ok(Some(format!("file `{KEYSPACES}/{}/{KEYSPACE_MARKER}`", name.display())));
        }
    }
    // One more than the spaces: fjall's own, which names the others.
    if keyspaces < Space::ALL.len() + 1 {
        return Ok(Some(format!("folder of a part, in `{KEYSPACES}`,")));
    }
    missing_log(folder)
}

/// Logs are numbered without a hole, and the oldest goes first.
fn missing_log(folder: &Path) -> io::Result<Option<String>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == LOG_EXTENSION) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
        }
    }
    numbers.sort_unstable();
    let hole = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    Ok(match (hole, numbers.is_empty()) {
        (Some(pair), _) => Some(format!("log `{}.{LOG_EXTENSION}`", pair[0] + 1)),
        (None, true) => Some(format!("log `*.{LOG_EXTENSION}`")),
        (None, false) => None,
    })
}

/// The last commit that a space shows, `None` if it shows none.
///
/// # Errors
/// If it cannot be read.
pub(super) fn last_commit(
    directory: &Path,
    space: &Keyspace,
) -> Result<Option<(Identity, u64)>, OpenError> {
    let damaged = |error: &dyn std::fmt::Display| OpenError::damaged(directory, error.to_string());
    let Some(row) = space.get(layout::COMMIT).map_err(|error| damaged(&error))? else {
        return Ok(None);
    };
    let (identity, number) = layout::read_commit(&row).map_err(|error| damaged(&error))?;
    Ok(Some((Identity(identity), number)))
}

/// The number of the last commit, which all `spaces` must show and which is what the witness says or
/// later.
///
/// # Errors
/// If a space is of another store or another moment, or commits that were durable are missing.
pub(super) fn check_commits(
    directory: &Path,
    spaces: &[Keyspace; Space::ALL.len()],
    witness: &Witness,
) -> Result<u64, OpenError> {
    let mut shown = [0; Space::ALL.len()];
    for space in Space::ALL {
        let name = space.name();
        match last_commit(directory, &spaces[space as usize])? {
            Some((identity, number)) if identity == witness.identity => {
                shown[space as usize] = number;
            }
            Some(_) => {
                let detail = format!("its part `{name}` is of another store");
                return Err(OpenError::damaged(directory, detail));
            }
            None => {
                let detail = format!("its part `{name}` has lost its content");
                return Err(OpenError::damaged(directory, detail));
            }
        }
    }
    let (least, most) = shown
        .iter()
        .fold((u64::MAX, 0), |(least, most), &number| (number.min(least), number.max(most)));
    let durable = witness.commits.max(most);
    if least < durable {
        let behind = Space::ALL.into_iter().find(|&space| shown[space as usize] == least);
        let name = behind.map_or("", Space::name);
        let detail = format!("its part `{name}` shows {least} of {durable} commits");
        return Err(OpenError::damaged(directory, detail));
    }
    Ok(most)
}
