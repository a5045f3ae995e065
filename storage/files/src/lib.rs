//! Files by name: the one way in which the product opens, makes and replaces them.
//!
//! ```text
//!   in the data directory   Rule::Ours, Rule::Secret     no link is followed; the owner is who runs us
//!   in a running server's   Rule::SecretOf               the same; the owner is the directory's
//!   named by an operator    Rule::Named, Rule::NamedSecret   links are followed (secrets and settings
//!                           of Kubernetes are links); what is found behind them is judged
//! ```
//! Owns what is asked of a name before a byte is read or written through it: that it is a regular
//! file, whose it is, and who else may use it. All is asked of the open descriptor, so that nothing
//! can be exchanged between the look and the use, and opening never waits (a named pipe would).
//! Does not own what stands in a file, nor files that a library opens by itself: for those
//! [`check_tree`] looks at everything below a directory.
#![forbid(unsafe_code)]

mod refusal;
mod tree;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

pub use refusal::{FileError, Refusal};
pub use tree::{ENTRIES_MAX, check_dir, check_tree};

/// Flags of every open: it does not wait for the other end of a pipe, and no child inherits it.
const FLAGS: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_CLOEXEC);

/// Mode of what is made here: its owner's alone.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Behind the name of a file that is being written, until it is whole.
const UNFINISHED: &str = "new";

/// What is asked of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// In a directory of ours: no link, and ours. The directory keeps others out.
    Ours,
    /// A secret in a directory of ours: nobody else may read or write it.
    Secret,
    /// A secret in the directory of a server that this user runs, read by a command beside it: root
    /// may run that for any server. What else root could read is nobody's of that directory.
    SecretOf(u32),
    /// Named by an operator: ours or root's, and nobody else may write it.
    Named,
    /// A secret that an operator names: ours and for nobody else, or root's and readable by a group
    /// (so systemd and Kubernetes hand secrets over; PostgreSQL asks the same of its keys).
    NamedSecret,
}

impl Rule {
    fn follows_links(self) -> bool {
        matches!(self, Self::Named | Self::NamedSecret)
    }

    /// Whose a file must be, and who that is.
    fn owner(self) -> (u32, &'static str) {
        match self {
            Self::SecretOf(owner) => (owner, "whose directory it is in"),
            _ => this_user(),
        }
    }

    fn takes_owner(self, uid: u32) -> bool {
        uid == self.owner().0 || (self.follows_links() && uid == 0)
    }

    /// Permission bits that must not be set for a file of this owner.
    fn forbidden(self, uid: u32) -> u32 {
        match self {
            Self::Ours => 0,
            Self::Named => 0o022,
            Self::NamedSecret if uid != geteuid().as_raw() => 0o027,
            Self::Secret | Self::SecretOf(_) | Self::NamedSecret => 0o077,
        }
    }
}

fn this_user() -> (u32, &'static str) {
    (geteuid().as_raw(), "who runs this")
}

fn open(path: &Path, options: &OpenOptions, rule: Rule) -> Result<File, FileError> {
    let mut flags = FLAGS;
    flags.set(OFlag::O_NOFOLLOW, !rule.follows_links());
    let opened = options.clone().custom_flags(flags.bits()).mode(FILE_MODE).open(path);
    let file = opened.map_err(|error| FileError::opening(path, error))?;
    judge(path, &file, rule)?;
    Ok(file)
}

/// Opens a file for reading.
///
/// # Errors
/// If it cannot be opened, is no regular file, or breaks the rule.
pub fn open_to_read(path: &Path, rule: Rule) -> Result<File, FileError> {
    open(path, OpenOptions::new().read(true), rule)
}

/// Opens a file of ours that is there for reading and writing.
///
/// # Errors
/// As [`open_to_read`].
pub fn open_to_write(path: &Path) -> Result<File, FileError> {
    open(path, OpenOptions::new().read(true).write(true), Rule::Ours)
}

/// The same, and makes it empty if it is not there.
///
/// # Errors
/// As [`open_to_read`]; if it cannot be made.
pub fn open_or_create(path: &Path) -> Result<File, FileError> {
    open(path, OpenOptions::new().read(true).write(true).create(true), Rule::Ours)
}

/// The whole content of a file of at most so many bytes.
///
/// # Errors
/// As [`open_to_read`]; if it is longer, or cannot be read.
pub fn read(path: &Path, bytes_max: u64, rule: Rule) -> Result<Vec<u8>, FileError> {
    let file = open_to_read(path, rule)?;
    let mut content = Vec::new();
    let failed = |error| FileError::io("read", path, error);
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > bytes_max {
        let (found, wanted) = (format!("more than {bytes_max} bytes"), "a shorter file".to_owned());
        let mend = "name another".to_owned();
        return Err(Refusal { path: path.to_owned(), found, wanted, mend }.into());
    }
    Ok(content)
}

/// The same as text.
///
/// # Errors
/// As [`read`]; if it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64, rule: Rule) -> Result<String, FileError> {
    String::from_utf8(read(path, bytes_max, rule)?).map_err(|_| {
        let error = io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text");
        FileError::io("read", path, error)
    })
}

/// Makes a file that must not be there; its owner alone may read and write it.
///
/// # Errors
/// If something stands under the name, or it cannot be made.
pub fn create_new(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    open(path, &options, Rule::Ours)
}

/// Makes a file anew: what stands under the name is taken away, be it a link or what a crash left,
/// and nothing is written through it.
///
/// # Errors
/// If it cannot be taken away or made.
pub fn create_afresh(path: &Path) -> Result<File, FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::io("remove", path, error))
        }
        _ => create_new(path),
    }
}

/// Opens a file to write behind its end, and makes it if it is not there.
///
/// # Errors
/// As [`open_or_create`].
pub fn open_to_append(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    open(path, &options, Rule::Ours)
}

/// Replaces a file whole or not at all, durably: written beside it, synced, renamed.
///
/// # Errors
/// If any of that fails; then the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let (file, beside) = write_beside(path, content)?;
    file.sync_all().map_err(|error| FileError::io("sync", &beside, error))?;
    rename(&beside, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(dir)
}

/// The same without a sync: what the power takes with it leaves the file before, or none.
///
/// # Errors
/// As [`replace`].
pub fn replace_unsynced(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let (_, beside) = write_beside(path, content)?;
    rename(&beside, path)
}

fn write_beside(path: &Path, content: &[u8]) -> Result<(File, PathBuf), FileError> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".");
    beside.push(UNFINISHED);
    let beside = PathBuf::from(beside);
    let mut file = create_afresh(&beside)?;
    file.write_all(content).map_err(|error| FileError::io("write", &beside, error))?;
    Ok((file, beside))
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|error| FileError::io("rename", from, error))
}

/// Makes durable which names stand in a directory.
///
/// # Errors
/// If it cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| FileError::io("sync", path, error))
}

/// Makes a directory, and those above it, for its owner alone; one that is there is left as it is.
///
/// # Errors
/// If it cannot be made.
pub fn make_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
        .map_err(|error| FileError::io("make", path, error))
}

/// The user whose directory this is: a server's, for a command beside it. A link to it is followed.
///
/// # Errors
/// If it cannot be looked at.
pub fn owner_of(dir: &Path) -> Result<u32, FileError> {
    let found = fs::metadata(dir).map_err(|error| FileError::io("look at", dir, error))?;
    Ok(found.uid())
}

/// Holds an open file against a rule.
fn judge(path: &Path, file: &File, rule: Rule) -> Result<(), FileError> {
    let found = file.metadata().map_err(|error| FileError::io("look at", path, error))?;
    if !found.is_file() {
        return Err(Refusal::kind(path, found.file_type(), "a regular file").into());
    }
    if !rule.takes_owner(found.uid()) {
        return Err(Refusal::owner(path, found.uid(), rule.owner(), false).into());
    }
    let mode = found.mode() & 0o777;
    let forbidden = rule.forbidden(found.uid());
    if mode & forbidden != 0 {
        return Err(Refusal::mode(path, mode, mode & !forbidden).into());
    }
    Ok(())
}
