//! The data directory: who owns it, which format it has.
//!
//! ```text
//! ringpost-data/            0700
//!   LOCK                    held (flock) while a server runs; names its process
//!   FORMAT                  "ringpost data directory, format 1"
//!   clock                   the last agreed date
//!   keys/ journal/ store/   made by those who own them
//! ```
//! Owns the lock, the format version, and that everything in the directory is ours and nobody else
//! may look into it. Invariant: two servers never share a directory, and nothing is written into a
//! directory that is not ours.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use ringpost_files::{FileError, Rule};

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Text of the format file in front of the number.
const FORMAT_PREFIX: &str = "ringpost data directory, format ";

/// Directories that a server makes here: where one stands, the rest was ours too.
const PARTS: [&str; 3] = ["journal", "store", "keys"];

/// Longest content of the small files here, bytes.
const SMALL_FILE_BYTES_MAX: u64 = 256;

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refuses, or something in it is not as it must be.
    #[error(transparent)]
    File(#[from] FileError),
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
    /// Ours, without the file that says so: something in it was lost.
    #[error(
        "{} has a {part} and no file FORMAT: it is a damaged data directory; restore it from a \
         backup (`ringpost restore FILE --data-dir NEW`), and keep this one until that runs",
        path.display()
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What in it is ours.
        part: &'static str,
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

/// A data directory that this process owns until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Unlocked by the kernel when it is closed, also after `kill -9`.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, takes its lock, checks its format and whose everything in it
    /// is.
    ///
    /// # Errors
    /// If it cannot be made or written, another server holds it, its format is not ours, or others
    /// may use it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        ringpost_files::make_dir(path)?;
        let format_path = path.join("FORMAT");
        let is_new = std::fs::symlink_metadata(&format_path).is_err();
        // First of all: whoever names a directory by mistake must not be told to change its mode.
        if is_new && has_others(path)? {
            let path = path.to_owned();
            let part = PARTS.into_iter().find(|part| path.join(part).is_dir());
            return Err(match part {
                Some(part) => DataDirError::Damaged { path, part },
                None => DataDirError::Foreign { path },
            });
        }
        ringpost_files::check_dir(path)?;
        let lock = lock(path, &path.join("LOCK"))?;
        ringpost_files::check_tree(path)?;
        if is_new {
            ringpost_files::replace(&format_path, format!("{FORMAT_PREFIX}{FORMAT}\n").as_bytes())?;
        }
        check_format(path, &format_path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether something stands in a directory that none of our starts has left there.
fn has_others(path: &Path) -> Result<bool, FileError> {
    let entries = std::fs::read_dir(path).map_err(|error| FileError::io("read", path, error))?;
    let is_other = |name: std::ffi::OsString| name != "LOCK" && name != "FORMAT.new";
    Ok(entries.filter_map(Result::ok).any(|entry| is_other(entry.file_name())))
}

fn lock(dir: &Path, path: &Path) -> Result<File, DataDirError> {
    let failed = |error| FileError::io("lock", path, error);
    let mut file = ringpost_files::open_or_create(path)?;
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
        Err(TryLockError::Error(error)) => return Err(failed(error).into()),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn check_format(dir: &Path, path: &Path) -> Result<(), DataDirError> {
    let text = ringpost_files::read_text(path, SMALL_FILE_BYTES_MAX, Rule::Ours)?;
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

    /// A directory as a server wants it.
    fn private() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

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
        let dir = private();
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

        let dir = private();
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
    fn a_directory_that_lost_its_format_is_damaged_and_not_foreign() {
        for part in PARTS {
            let dir = private();
            drop(DataDir::open(dir.path()).unwrap());
            std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
            std::fs::create_dir(dir.path().join(part)).unwrap();
            let text = DataDir::open(dir.path()).unwrap_err().to_string();
            for word in [part, "FORMAT", "damaged", "restore", "backup"] {
                assert!(text.contains(word), "{word} in {text}");
            }
            assert!(!text.contains("empty"), "{text}");
            assert!(!dir.path().join("FORMAT").exists());
        }
    }

    #[test]
    fn a_directory_that_others_may_use_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o777, 0o750] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.path(), permissions).unwrap();
            let text = DataDir::open(dir.path()).unwrap_err().to_string();
            assert!(text.contains(&format!("found mode {mode:o}")), "{text}");
            assert!(text.contains(&format!("`chmod 700 {}`", dir.path().display())), "{text}");
            let permissions = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(dir.path(), permissions).unwrap();
        }
        drop(DataDir::open(dir.path()).unwrap());
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        use std::os::unix::fs::symlink;
        let outer = tempfile::tempdir().unwrap();
        let victim = outer.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        for name in ["LOCK", "FORMAT.new", "FORMAT"] {
            let dir = private();
            symlink(&victim, dir.path().join(name)).unwrap();
            let text = DataDir::open(dir.path()).unwrap_err().to_string();
            assert!(text.contains("found a symbolic link"), "{name}: {text}");
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}");
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
