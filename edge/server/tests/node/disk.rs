//! A disk of the test's own, on the data directory: a file system in memory with a size, that can be
//! filled and made read-only, or one in a file, that can be kept from answering.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
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
        let disk = Self::place()?;
        let size = format!("size={mebibytes}m,mode=700");
        mount(&["-t", "tmpfs", "-o", &size, "none", disk.at.to_str().unwrap()]).unwrap();
        Some(disk)
    }

    /// The same, with an ext4 in a file, which can be frozen. `None`, too, where there are no tools or
    /// devices for it.
    pub(crate) fn mount_freezable(mebibytes: u32) -> Option<Self> {
        let disk = Self::place()?;
        let image = disk.dir.path().join("image");
        File::create(&image).unwrap().set_len(u64::from(mebibytes) << 20).unwrap();
        let mounted = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()])
            .and_then(|()| {
                mount(&["-o", "loop", image.to_str().unwrap(), disk.at.to_str().unwrap()])
            })
            .and_then(|()| run("fsfreeze", &["--help"]));
        if let Err(error) = mounted {
            let _ = writeln!(std::io::stderr().lock(), "not run: {error}");
            return None;
        }
        std::fs::set_permissions(&disk.at, std::fs::Permissions::from_mode(0o700)).unwrap();
        // The directory that a file system has from the start is no data directory's.
        std::fs::remove_dir(disk.at.join("lost+found")).unwrap();
        Some(disk)
    }

    /// A place that only the calling thread sees as it will be.
    fn place() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "not run: a file system needs more rights ({error})");
            return None;
        }
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let at = dir.path().join("data");
        std::fs::create_dir(&at).unwrap();
        // What is mounted here must not be seen by others.
        mount(&["--make-rprivate", "/"]).unwrap();
        Some(Self { dir, at })
    }

    /// From here on it answers no write, until this is dropped.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", &["-f", self.at.to_str().unwrap()]).unwrap();
        Frozen(self)
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
        mount(&["-o", options, self.at.to_str().unwrap()]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails only where the mount failed; then the directory is an ordinary one.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}

/// A disk that does not answer.
pub(crate) struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Who waits for the disk cannot even be killed: a failure would be seen by the test's end.
        let _ = run("fsfreeze", &["-u", self.0.at.to_str().unwrap()]);
    }
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    run("mount", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        failed => Err(format!("{program} {arguments:?}: {failed:?}")),
    }
}
