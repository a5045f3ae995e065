//! A disk of the test's own: a file system in memory with a size, on the data directory, that can
//! be filled and made read-only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// A file system that only the thread that made it sees, and what this thread starts.
pub(crate) struct Disk {
    /// Where it stands: a directory beside the log of the node.
    pub(crate) dir: Arc<TempDir>,
    at: PathBuf,
}

impl Disk {
    /// Gives the calling thread a view of files of its own, with a disk of this many megabytes
    /// in it. `None`, with a word on standard error, where this process may not do so.
    pub(crate) fn mount(mebibytes: u32) -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "not run: a file system needs more rights ({error})");
            return None;
        }
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let at = dir.path().join("data");
        std::fs::create_dir(&at).unwrap();
        // What is mounted here must not be seen by others.
        mount(&["--make-rprivate", "/"]);
        let size = format!("size={mebibytes}m,mode=700");
        mount(&["-t", "tmpfs", "-o", &size, "none", at.to_str().unwrap()]);
        Some(Self { dir, at })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Takes all room that is left, but for `spare_bytes`. [`Disk::give_back`] ends it.
    pub(crate) fn fill(&self, spare_bytes: u64) {
        let mut file = File::create(self.at.join("filler")).unwrap();
        let block = [1; 64 << 10];
        let mut filled = 0;
        while let Ok(count) = file.write(&block) {
            filled += count as u64;
        }
        file.set_len(filled.saturating_sub(spare_bytes)).unwrap();
    }

    pub(crate) fn give_back(&self) {
        std::fs::remove_file(self.at.join("filler")).unwrap();
    }

    /// From here on it takes no writes, from nobody.
    pub(crate) fn make_read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        mount(&["-o", options, self.at.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails only where the mount failed; then the directory is an ordinary one.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().unwrap();
    assert!(output.status.success(), "mount {arguments:?}: {output:?}");
}
