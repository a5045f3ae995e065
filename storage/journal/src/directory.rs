//! The journal's directory: format file, names of segments, prewriting, reading.
//!
//! ```text
//! journal/format              "ringpost-journal 1 <id>": version and random id, written once; of a
//!                             journal that goes on behind a backup also "behind <position>"
//! journal/segment-00000003    a segment, prewritten in full before it gets this name
//! journal/segment-00000003.new   one that was being prewritten; removed at the next boot
//! journal/probe               one block, for the direct-I/O device (see `device::glommio`)
//! ```
//!
//! Blocking `std::fs`: used at boot, for recovery, and by the preparer beside the journal thread;
//! never on the way of a record. The lock against a second process is the server's.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    sys::statvfs::statvfs,
};
use ringpost_files::{FileError, Rule};

use crate::{
    error::{DeviceError, OpenError, Operation},
    format::BLOCK_BYTES,
    recovery::{SegmentSource, SlotInfo},
};

/// Version of the format on disk that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes written and synced at a time when a segment is prewritten.
const PREWRITE_BYTES: usize = 1 << 20;

const FORMAT_FILE: &str = "format";
const FORMAT_NAME: &str = "ringpost-journal";
/// Before the position behind which a journal begins.
const BEHIND: &str = "behind";
/// Longest format file that is read, bytes.
const FORMAT_BYTES_MAX: u64 = 256;
/// Segments that a reading keeps open. They are read one behind the other, so few are enough.
const OPEN_SEGMENTS_MAX: usize = 16;
const PROBE_FILE: &str = "probe";
const SEGMENT_PREFIX: &str = "segment-";
const UNFINISHED_SUFFIX: &str = ".new";

/// File name of the segment in `slot`.
#[must_use]
pub fn segment_name(slot: u32) -> String {
    format!("{SEGMENT_PREFIX}{slot:08}")
}

/// An open journal directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    journal_id: u64,
    /// The position behind which it begins.
    base: u64,
}

impl Directory {
    /// Opens the journal in `path`, or makes a new one there if the directory is missing or empty.
    ///
    /// # Errors
    /// Another format, or the directory cannot be used.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        ringpost_files::make_dir(path)
            .map_err(|error| DeviceError::new(Operation::Directory, path, error.into()))?;
        let (journal_id, base) = match read_format(path)? {
            Some(format) => format,
            None => (create_format(path, 0)?, 0),
        };
        let directory = Self { path: path.to_owned(), journal_id, base };
        directory.remove_unfinished()?;
        directory.ensure_probe_file()?;
        directory.ensure_writable()?;
        Ok(directory)
    }

    /// Makes a new journal in `path` whose first record has the position behind `base`: for a store
    /// that was restored and has everything up to there.
    ///
    /// # Errors
    /// There is one, or it cannot be made.
    pub fn begin_behind(path: &Path, base: u64) -> Result<(), OpenError> {
        ringpost_files::make_dir(path)
            .map_err(|error| DeviceError::new(Operation::Directory, path, error.into()))?;
        if read_format(path)?.is_some() {
            let found = "there is a journal already".to_owned();
            return Err(OpenError::UnknownFormat { path: path.join(FORMAT_FILE), found });
        }
        create_format(path, base)?;
        Ok(())
    }

    /// Opens the journal in `path` for reading; writes nothing.
    ///
    /// # Errors
    /// There is no journal, it has another format, or it cannot be read.
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        match read_format(path)? {
            Some((journal_id, base)) => Ok(Self { path: path.to_owned(), journal_id, base }),
            None => Err(OpenError::UnknownFormat {
                path: path.join(FORMAT_FILE),
                found: "there is no such file".to_owned(),
            }),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Random id of this journal.
    #[must_use]
    pub fn journal_id(&self) -> u64 {
        self.journal_id
    }

    /// The position behind which the first record of this journal stands; 0 but for a journal that
    /// goes on behind a backup.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Path of the segment in `slot`.
    #[must_use]
    pub fn segment_path(&self, slot: u32) -> PathBuf {
        self.path.join(segment_name(slot))
    }

    /// One readable block; the direct-I/O device opens it first.
    #[must_use]
    pub fn probe_path(&self) -> PathBuf {
        self.path.join(PROBE_FILE)
    }

    /// Creates the segment in `slot`: writes zeros, real ones, so that a later write of a batch
    /// neither allocates nor converts extents (about 1.7 times the fdatasync time otherwise).
    ///
    /// # Errors
    /// The file system has no room, or the device failed. What was begun is removed.
    pub fn prepare(&self, slot: u32, bytes: u64) -> Result<(), DeviceError> {
        let path = self.segment_path(slot);
        let unfinished = self.path.join(segment_name(slot) + UNFINISHED_SUFFIX);
        let prepared = ensure_room(&self.path, bytes)
            .and_then(|()| prewrite(&unfinished, bytes))
            .and_then(|()| fs::rename(&unfinished, &path))
            .and_then(|()| Ok(ringpost_files::sync_dir(&self.path)?));
        prepared.map_err(|error| {
            // Best effort: what stays is removed at the next boot.
            let _ = fs::remove_file(&unfinished);
            DeviceError::new(Operation::Prepare, path, error)
        })
    }

    /// Deletes the segment in `slot`.
    ///
    /// # Errors
    /// The file could not be removed.
    pub fn remove(&self, slot: u32) -> Result<(), DeviceError> {
        let path = self.segment_path(slot);
        fs::remove_file(&path)
            .and_then(|()| Ok(ringpost_files::sync_dir(&self.path)?))
            .map_err(|error| DeviceError::new(Operation::Remove, path, error))
    }

    /// Read access to the segments.
    #[must_use]
    pub fn source(&self) -> DirectorySource {
        DirectorySource { directory: self.clone(), files: HashMap::new(), sync: true }
    }

    /// The same, for a look from outside: `sync` does nothing.
    #[must_use]
    pub fn read_only_source(&self) -> DirectorySource {
        DirectorySource { directory: self.clone(), files: HashMap::new(), sync: false }
    }

    fn remove_unfinished(&self) -> Result<(), DeviceError> {
        for name in list(&self.path)? {
            if name.starts_with(SEGMENT_PREFIX) && name.ends_with(UNFINISHED_SUFFIX) {
                let path = self.path.join(name);
                fs::remove_file(&path)
                    .map_err(|error| DeviceError::new(Operation::Remove, path, error))?;
            }
        }
        Ok(())
    }

    fn ensure_probe_file(&self) -> Result<(), DeviceError> {
        let path = self.probe_path();
        if fs::symlink_metadata(&path).is_ok_and(|found| found.len() == BLOCK_BYTES as u64) {
            return Ok(());
        }
        prewrite(&path, BLOCK_BYTES as u64)
            .map_err(|error| DeviceError::new(Operation::Prepare, path, error))
    }

    /// A read-only file system or a wrong owner shows now, not with the first record.
    fn ensure_writable(&self) -> Result<(), DeviceError> {
        let files = [self.probe_path()];
        for path in files.into_iter().chain(self.segment_paths()?) {
            ringpost_files::open_to_write(&path)
                .map_err(|error| DeviceError::new(Operation::Open, path, error.into()))?;
        }
        Ok(())
    }

    fn segment_paths(&self) -> Result<Vec<PathBuf>, DeviceError> {
        let slots = list(&self.path)?.into_iter().filter(|name| slot_of(name).is_some());
        Ok(slots.map(|name| self.path.join(name)).collect())
    }
}

fn slot_of(name: &str) -> Option<u32> {
    let slot = name.strip_prefix(SEGMENT_PREFIX)?.parse().ok()?;
    (segment_name(slot) == name).then_some(slot)
}

/// [`SegmentSource`] over the files of a directory.
#[derive(Debug)]
pub struct DirectorySource {
    directory: Directory,
    files: HashMap<u32, File>,
    sync: bool,
}

impl DirectorySource {
    fn file(&mut self, slot: u32) -> Result<&File, DeviceError> {
        let path = self.directory.segment_path(slot);
        if self.files.len() >= OPEN_SEGMENTS_MAX && !self.files.contains_key(&slot) {
            self.files.clear();
        }
        match self.files.entry(slot) {
            std::collections::hash_map::Entry::Occupied(open) => Ok(open.into_mut()),
            std::collections::hash_map::Entry::Vacant(closed) => {
                let file = ringpost_files::open_to_read(&path, Rule::Ours)
                    .map_err(|error| DeviceError::new(Operation::Open, path, error.into()))?;
                Ok(closed.insert(file))
            }
        }
    }
}

impl SegmentSource for DirectorySource {
    fn slots(&mut self) -> Result<Vec<SlotInfo>, DeviceError> {
        let mut slots = Vec::new();
        for name in list(&self.directory.path)? {
            let Some(slot) = slot_of(&name) else { continue };
            let path = self.directory.path.join(&name);
            let found = fs::metadata(&path)
                .map_err(|error| DeviceError::new(Operation::Open, path, error))?;
            slots.push(SlotInfo { slot, bytes: found.len() });
        }
        Ok(slots)
    }

    fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        if !self.sync {
            return Ok(());
        }
        let path = self.directory.segment_path(slot);
        let file = self.file(slot)?;
        // After an fdatasync that failed in an earlier life the cache may hold, as clean, what the
        // disk does not have. Dropping it makes the reads that follow reads of the disk.
        file.sync_data()
            .and_then(|()| {
                posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                    .map_err(io::Error::from)
            })
            .map_err(|error| DeviceError::new(Operation::Sync, path, error))
    }

    fn read(&mut self, slot: u32, offset: u64, out: &mut [u8]) -> Result<(), DeviceError> {
        let path = self.directory.segment_path(slot);
        self.file(slot)?
            .read_exact_at(out, offset)
            .map_err(|error| DeviceError::new(Operation::Read, path, error))
    }

    fn path(&self, slot: u32) -> PathBuf {
        self.directory.segment_path(slot)
    }
}

/// The id of the journal in `path` and its base; `None` if there is neither a format file nor a segment.
fn read_format(path: &Path) -> Result<Option<(u64, u64)>, OpenError> {
    let file = path.join(FORMAT_FILE);
    let text = match ringpost_files::read(&file, FORMAT_BYTES_MAX, Rule::Ours) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.is_not_found() => {
            if list(path)?.iter().any(|name| name.starts_with(SEGMENT_PREFIX)) {
                let found = "it is missing, but there are segments beside it".to_owned();
                return Err(OpenError::UnknownFormat { path: file, found });
            }
            return Ok(None);
        }
        Err(error) => return Err(DeviceError::new(Operation::Open, file, error.into()).into()),
    };
    let unknown = || OpenError::UnknownFormat {
        path: file.clone(),
        found: format!("{:?}", text.chars().take(64).collect::<String>()),
    };
    let mut words = text.strip_suffix('\n').unwrap_or(&text).split(' ');
    if words.next() != Some(FORMAT_NAME) {
        return Err(unknown());
    }
    let version: u32 = words.next().and_then(|word| word.parse().ok()).ok_or_else(unknown)?;
    if version > FORMAT_VERSION {
        return Err(OpenError::NewerFormat { path: file, found: version, known: FORMAT_VERSION });
    }
    let id = words.next().filter(|word| word.len() == 16 && version == FORMAT_VERSION);
    let id = id.and_then(|word| u64::from_str_radix(word, 16).ok()).ok_or_else(unknown)?;
    let base = match words.next() {
        None => 0,
        Some(BEHIND) => words.next().and_then(|word| word.parse().ok()).ok_or_else(unknown)?,
        Some(_) => return Err(unknown()),
    };
    if words.next().is_some() { Err(unknown()) } else { Ok(Some((id, base))) }
}

fn create_format(path: &Path, base: u64) -> Result<u64, DeviceError> {
    let file = path.join(FORMAT_FILE);
    let create = || -> Result<u64, FileError> {
        let id = random_id()?;
        let mut line = format!("{FORMAT_NAME} {FORMAT_VERSION} {id:016x}");
        if base > 0 {
            line.push_str(&format!(" {BEHIND} {base}"));
        }
        line.push('\n');
        ringpost_files::replace(&file, line.as_bytes())?;
        // The directory itself is new as well.
        path.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map_or(Ok(()), ringpost_files::sync_dir)?;
        Ok(id)
    };
    create().map_err(|error| DeviceError::new(Operation::Directory, &file, error.into()))
}

fn random_id() -> Result<u64, FileError> {
    let mut random = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut urandom| urandom.read_exact(&mut random))
        .map_err(|error| FileError::io("read", Path::new("/dev/urandom"), error))?;
    Ok(u64::from_le_bytes(random))
}

/// A disk without room for a segment is not filled up to find that out: what is left may be all that
/// the store has to get on with.
fn ensure_room(path: &Path, bytes: u64) -> io::Result<()> {
    let volume = statvfs(path)?;
    let free = volume.blocks_available().saturating_mul(volume.fragment_size());
    if free < bytes { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

fn prewrite(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = ringpost_files::create_afresh(path)?;
    let zeros = vec![0; PREWRITE_BYTES.min(usize::try_from(bytes).unwrap_or(PREWRITE_BYTES))];
    let mut left = bytes;
    while left > 0 {
        let step = zeros.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&zeros[..step])?;
        // Not 64 MiB at once: the batches of the running journal wait in the same device queue.
        // Their worst fdatasync beside a preparation took 44 ms with one sync at the end, 15 ms so.
        file.sync_data()?;
        left -= step as u64;
    }
    file.sync_all()?;
    // Zeros need no place in the page cache, and direct I/O prefers to find none.
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)
}

fn list(path: &Path) -> Result<Vec<String>, DeviceError> {
    let names = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    names().map_err(|error| DeviceError::new(Operation::Directory, path, error))
}
