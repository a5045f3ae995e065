//! A directory of ours, and all that stands in it: for what a library opens by itself.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{FileError, Refusal, this_user};

/// Most names that a directory of ours holds with all below it: a store of a terabyte has some ten
/// thousand.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Holds a directory against what a directory of ours must be: a directory, or a link to one, that
/// is ours and that nobody else may use.
///
/// # Errors
/// If it is not, or cannot be looked at.
pub fn check_dir(path: &Path) -> Result<(), FileError> {
    let found = fs::metadata(path).map_err(|error| FileError::io("look at", path, error))?;
    if !found.is_dir() {
        return Err(Refusal::kind(path, found.file_type(), "a directory").into());
    }
    if found.uid() != this_user().0 {
        return Err(Refusal::owner(path, found.uid(), this_user(), true).into());
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Refusal::mode(path, mode, mode & 0o700 | 0o700).into());
    }
    Ok(())
}

/// Looks at everything below a directory that [`check_dir`] has passed: files and directories of
/// ours, and nothing else; the directories for nobody else. A directory right below it may be a link to one on another disk.
///
/// # Errors
/// The first thing that is not, or that cannot be looked at.
pub fn check_tree(root: &Path) -> Result<(), FileError> {
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    let mut seen = 0;
    // Ends: at [`ENTRIES_MAX`] names. A round is one directory, and no link leads to one twice.
    while let Some(dir) = open.pop() {
        let failed = |error| FileError::io("read", &dir, error);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            seen += 1;
            if seen > ENTRIES_MAX {
                let (found, wanted) =
                    (format!("more than {ENTRIES_MAX} files"), "the files of a server".to_owned());
                let mend = "move away what is not its own".to_owned();
                return Err(Refusal { path: root.to_owned(), found, wanted, mend }.into());
            }
            if check_entry(&path, dir == root)? {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// Whether it is a directory. One that has gone meanwhile is nothing.
fn check_entry(path: &Path, is_top: bool) -> Result<bool, FileError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(|error| FileError::io("look at", path, error))?,
    };
    if found.is_symlink() && is_top && path.is_dir() {
        check_dir(path)?;
        return Ok(true);
    }
    if !found.is_dir() && !found.is_file() {
        return Err(Refusal::kind(path, found.file_type(), "a regular file").into());
    }
    if found.uid() != this_user().0 {
        return Err(Refusal::owner(path, found.uid(), this_user(), found.is_dir()).into());
    }
    let mode = found.mode() & 0o777;
    // Through closed directories nobody reaches a file, whatever its own mode is.
    if found.is_dir() && mode & 0o077 != 0 {
        return Err(Refusal::mode(path, mode, mode & 0o700 | 0o700).into());
    }
    Ok(found.is_dir())
}
