//! The disk as a file: a file system in user space (FUSE) with one file, on which a loop device is
//! put.
//!
//! While the power is off no request is answered; once the server is dead they all fail, so that
//! nobody waits for ever.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, WriteFlags,
};

use super::disk::{Defect, Disk, Failed, Lost};
use crate::seeded::Chance;

/// Name of the file.
pub(super) const DISK_FILE: &str = "disk";

const DISK_INODE: INodeNo = INodeNo(2);

/// How long the kernel may remember what it was told of the file: nothing of it ever changes.
const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// Nobody is answered.
    Off,
    /// Everybody is answered with an error.
    Dead,
}

struct State {
    disk: Disk,
    power: Power,
    flushes: u64,
}

/// The disk and its power switch, shared with the threads of the file system.
#[derive(Clone)]
pub(super) struct Switch(Arc<(Mutex<State>, Condvar)>);

impl Switch {
    /// A new disk with the power on.
    pub(super) fn new(bytes: usize) -> Self {
        let state = State { disk: Disk::new(bytes), power: Power::On, flushes: 0 };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    /// Shows the disk as a file in the folder `at`, until the session ends.
    ///
    /// # Errors
    /// When the kernel does not mount it.
    pub(super) fn mount(&self, at: &Path) -> std::io::Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("ringpost-powercut".to_owned())];
        Session::new(DiskFile(self.clone()), at, &config)?.spawn()
    }

    /// Cuts the power: what is volatile is lost now, and nobody is answered any more.
    pub(super) fn cut(&self, chance: &mut Chance) -> Lost {
        let mut state = self.state();
        state.power = Power::Off;
        state.disk.cut(chance)
    }

    /// Fails whoever waits or comes.
    pub(super) fn fail_all(&self) {
        self.state().power = Power::Dead;
        self.0.1.notify_all();
    }

    /// The power is back.
    pub(super) fn turn_on(&self) {
        self.state().power = Power::On;
        self.0.1.notify_all();
    }

    /// From now on something fails, until the cut.
    pub(super) fn break_down(&self, defect: Defect) {
        self.state().disk.break_down(defect);
    }

    /// From now on flushes are answered and do nothing.
    pub(super) fn pretend(&self) {
        self.state().disk.pretend();
    }

    /// Flushes that were asked for.
    pub(super) fn flushes(&self) -> u64 {
        self.state().flushes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no thread panics while it holds the disk")
    }

    /// The disk, for a request; an error if it may only fail.
    fn serve(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let state = self.0.1.wait_while(self.state(), |state| state.power == Power::Off);
        let state = state.expect("no thread panics while it holds the disk");
        if state.power == Power::On { Ok(state) } else { Err(Errno::EIO) }
    }
}

/// The file system.
struct DiskFile(Switch);

impl DiskFile {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_disk = inode == DISK_INODE;
        let size = if is_disk { self.0.state().disk.bytes() as u64 } else { 0 };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
            perm: if is_disk { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for DiskFile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == DISK_FILE {
            reply.entry(&REMEMBERED, &self.attributes(DISK_INODE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&REMEMBERED, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.serve() {
            Ok(state) => reply.data(state.disk.read(offset as usize, size as usize)),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.0.serve().and_then(|mut state| {
            state.disk.write(offset as usize, data).map_err(|Failed| Errno::EIO)
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    /// At the close of a descriptor: not a flush of the disk.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flushed = self.0.serve().and_then(|mut state| {
            state.flushes += 1;
            state.disk.flush().map_err(|Failed| Errno::EIO)
        });
        match flushed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}
