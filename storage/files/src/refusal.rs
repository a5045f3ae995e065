//! Why a file is not used: what was found, what is wanted, and the command that mends it.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// A file that is not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {action} {}: {error}{}", path.display(), hint(error))]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is there, and not as it must be.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Something that is there under a name, and not as it must be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {}", path.display(), self.detail())]
pub struct Refusal {
    /// Where.
    pub path: PathBuf,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// What to do, a command where one does it.
    pub mend: String,
}

impl FileError {
    /// An error of the system.
    pub fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), error }
    }

    /// Whether nothing stands under the name.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    /// An open that failed: where something else than a file stands, the system's word for it says
    /// little (`ELOOP` for a link, `ENXIO` for a pipe).
    pub(crate) fn opening(path: &Path, error: io::Error) -> Self {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() && !found.is_symlink() => {
                Refusal::kind(path, found.file_type(), "a regular file").into()
            }
            Ok(found) if found.is_symlink() && is_loop(&error) => {
                Refusal::kind(path, found.file_type(), "a regular file").into()
            }
            _ => Self::io("open", path, error),
        }
    }
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => " (the server must be able to write there)",
        io::ErrorKind::PermissionDenied => " (run as the user who owns it, or name another)",
        io::ErrorKind::StorageFull => " (free some space, or name a directory on another disk)",
        _ => "",
    }
}

/// For those who name the file by themselves: the error of the system, or the refusal without its
/// path.
impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { error, .. } => error,
            FileError::Refused(refusal) => Self::other(refusal.detail()),
        }
    }
}

impl Refusal {
    fn detail(&self) -> String {
        format!("found {}, wanted {}; {}", self.found, self.wanted, self.mend)
    }

    pub(crate) fn kind(path: &Path, found: FileType, wanted: &str) -> Self {
        let mend = format!("move it away: `mv {0} {0}.away`", quoted(path));
        Self::new(path, kind_name(found).to_owned(), wanted.to_owned(), mend)
    }

    /// Of another user than the one who is wanted, who `is` so: "who runs this".
    pub(crate) fn owner(path: &Path, found: u32, wanted: (u32, &str), is_dir: bool) -> Self {
        let all = if is_dir { "-R " } else { "" };
        let (wanted, is) = wanted;
        let mend = format!("if it is yours: `chown {all}{wanted} {}`", quoted(path));
        let wanted = format!("user {wanted}, {is}");
        Self::new(path, format!("that user {found} owns it"), wanted, mend)
    }

    pub(crate) fn mode(path: &Path, found: u32, wanted: u32) -> Self {
        let mend = format!("if nobody has used that: `chmod {wanted:o} {}`", quoted(path));
        let wanted = format!("mode {wanted:o}");
        Self::new(path, format!("mode {found:o}, which is open to others"), wanted, mend)
    }

    fn new(path: &Path, found: String, wanted: String, mend: String) -> Self {
        Self { path: path.to_owned(), found, wanted, mend }
    }
}

fn kind_name(found: FileType) -> &'static str {
    match found {
        it if it.is_symlink() => "a symbolic link",
        it if it.is_dir() => "a directory",
        it if it.is_fifo() => "a named pipe",
        it if it.is_socket() => "a socket",
        it if it.is_block_device() || it.is_char_device() => "a device",
        _ => "a regular file",
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    match text.chars().all(is_plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_any_path() {
        for (path, expected) in [
            ("/var/lib/ringpost", "/var/lib/ringpost"),
            ("/a b", "'/a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
