//! The data directory: who owns it, which format it has.
//!
//! ```text
//! ringpost-data/            0700
//!   LOCK                    held (flock) while a server runs; names its process
//!   FORMAT                  "ringpost data directory, format 1"
//!   clock                   the last agreed date
//!   keys/ journal/ store/   made by those who own them
//! ```
//! Owns the lock, the format version and the permissions of the directory itself. Invariant: two
//! servers never share a directory, and nothing is written into a directory that is not ours.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Text of the format file in front of the number.
const FORMAT_PREFIX: &str = "ringpost data directory, format ";

/// Longest content of the small files here, bytes.
const SMALL_FILE_BYTES_MAX: u64 = 256;

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refuses.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another server runs on it.
    #[error(
        "another ringpost server{} is running on {}; stop it, or give this one its own --data-dir",
        owner.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, if it said so.
        owner: Option<u32>,
    },
    /// Files are in it, but none of ours.
    #[error(
        "{} is not empty and not a ringpost data directory; name an empty or new one",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error(
        "{} has format {found}, this version of ringpost reads up to {FORMAT}; run the version \
         that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The format file does not say a format.
    #[error(
        "{} does not name a format; restore it from a backup (its content is \
         \"{FORMAT_PREFIX}{FORMAT}\")",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => " (the server must be able to write there)",
        io::ErrorKind::PermissionDenied => " (run as the user who owns it, or name another)",
        io::ErrorKind::StorageFull => " (free some space, or name a directory on another disk)",
        _ => "",
    }
}

/// A data directory that this process owns until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Unlocked by the kernel when it is closed, also after `kill -9`.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, takes its lock and checks its format.
    ///
    /// # Errors
    /// If it cannot be made or written, another server holds it, or its format is not ours.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |action, path: &Path, source| DataDirError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| failed("make", path, source))?;
        let format_path = path.join("FORMAT");
        let lock_path = path.join("LOCK");
        let is_new = !format_path.exists();
        if is_new {
            let others = std::fs::read_dir(path)
                .map_err(|source| failed("read", path, source))?
                .filter_map(Result::ok)
                .any(|entry| entry.file_name() != "LOCK" && entry.file_name() != "FORMAT.new");
            if others {
                return Err(DataDirError::Foreign { path: path.to_owned() });
            }
        }
        let lock = lock(path, &lock_path)?;
        if is_new {
            write_format(path, &format_path)
                .map_err(|source| failed("write", &format_path, source))?;
        }
        check_format(path, &format_path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(dir: &Path, path: &Path) -> Result<File, DataDirError> {
    let failed = |source| DataDirError::Io { action: "lock", path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = (&file).take(SMALL_FILE_BYTES_MAX).read_to_string(&mut text);
            return Err(DataDirError::Locked {
                path: dir.to_owned(),
                owner: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Writes the format whole or not at all.
fn write_format(dir: &Path, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    writeln!(file, "{FORMAT_PREFIX}{FORMAT}")?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()
}

fn check_format(dir: &Path, path: &Path) -> Result<(), DataDirError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(SMALL_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| DataDirError::Io { action: "read", path: path.to_owned(), source })?;
    let found = text.trim().strip_prefix(FORMAT_PREFIX).and_then(|number| number.parse().ok());
    match found {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(DataDirError::Newer { path: dir.to_owned(), found }),
        _ => Err(DataDirError::Unreadable { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_directory_is_private_and_opens_again() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("a/data");
        drop(DataDir::open(&path).unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert_eq!(DataDir::open(&path).unwrap().path(), path);
    }

    #[test]
    fn a_second_server_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Locked { .. }));
        let text = error.to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains("--data-dir"), "{text}");
        drop(held);
        assert!(DataDir::open(dir.path()).is_ok());
    }

    #[test]
    fn other_formats_and_foreign_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "").unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Foreign { .. }));
        assert!(!dir.path().join("LOCK").exists());

        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        let format = dir.path().join("FORMAT");
        std::fs::write(&format, format!("{FORMAT_PREFIX}{}\n", FORMAT + 1)).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Newer { found, .. } if found == FORMAT + 1));
        for text in ["", "ringpost", "ringpost data directory, format one", "format 1"] {
            std::fs::write(&format, text).unwrap();
            let error = DataDir::open(dir.path()).unwrap_err();
            assert!(matches!(error, DataDirError::Unreadable { .. }), "{text:?}");
        }
    }

    #[test]
    fn a_path_that_is_a_file_is_an_error_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}
