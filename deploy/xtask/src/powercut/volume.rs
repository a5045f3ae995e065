//! A volume: an ext4 on a loop device on the volatile disk, mounted in a folder.
//!
//! ```text
//!  server ── ext4 ── loop device ── file of a FUSE file system ── Disk (in this process)
//! ```
//! The loop device stands between so that the server meets a file system as it is in the field,
//! and so that direct I/O works as the journal wants it. All of it needs root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fuser::BackgroundSession;

use super::disk::Lost;
use super::fuse::{DISK_FILE, Switch};
use crate::seeded::Chance;

/// Size of the disk. Only what is written takes memory.
const DISK_BYTES: usize = 768 << 20;

/// Tries to take a mount away: the last descriptors of a killed process are closed behind it, and
/// a loop device lets its file go when the last of its own users has.
const UNMOUNT_TRIES: u32 = 400;

/// Between two of them.
const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);

/// The programs that are called.
const PROGRAMS: &[&str] = &["losetup", "mkfs.ext4", "mount", "umount"];

/// A volume.
pub(super) struct Volume {
    pub(super) switch: Switch,
    folder: PathBuf,
    mounted: Option<Mounted>,
}

/// What a mounted file system stands on.
struct Mounted {
    session: BackgroundSession,
    loop_device: String,
}

/// Why no volume can be made on this machine; nothing if one can.
pub(super) fn hindrance() -> Option<String> {
    // The kernel gives the folder of a process to the user as whom it runs.
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Some("mounting needs root".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if fs::OpenOptions::new().read(true).write(true).open(device).is_err() {
            return Some(format!("{device} cannot be opened"));
        }
    }
    let missing = PROGRAMS.iter().find(|program| {
        let asked = Command::new(program).arg("-V").output();
        asked.is_err()
    });
    missing.map(|program| format!("{program} is not installed"))
}

impl Volume {
    /// Makes a volume and mounts it below `folder`.
    ///
    /// # Errors
    /// When a step fails; the text names it.
    pub(super) fn make(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.to_owned();
        let mut volume = Self { switch: Switch::new(DISK_BYTES), folder, mounted: None };
        for path in [volume.disk_folder(), volume.path()] {
            fs::create_dir_all(path)?;
        }
        let session = volume.switch.mount(&volume.disk_folder()).context("cannot mount a FUSE")?;
        let disk = volume.disk_folder().join(DISK_FILE);
        let made = call("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0", &text(&disk)]);
        session.umount_and_join()?;
        made?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("volume")
    }

    fn disk_folder(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// Cuts the power: from here on nothing reaches the disk and nobody is answered.
    pub(super) fn cut(&self, chance: &mut Chance) -> Lost {
        self.switch.cut(chance)
    }

    /// Mounts what the cut has left, as after a reboot. Whoever used the volume is dead or dies by
    /// it.
    ///
    /// # Errors
    /// When a step fails; the text names it.
    pub(super) fn reboot(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        self.switch.turn_on();
        let session = self.switch.mount(&self.disk_folder()).context("cannot mount a FUSE")?;
        let disk = self.disk_folder().join(DISK_FILE);
        let loop_device = call("losetup", &["--find", "--show", &text(&disk)])?;
        let below = Mounted { session, loop_device };
        if let Err(failure) =
            call("mount", &["-t", "ext4", &below.loop_device, &text(&self.path())])
        {
            below.release()?;
            return Err(failure);
        }
        self.mounted = Some(below);
        Ok(())
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let Some(below) = self.mounted.take() else { return Ok(()) };
        let mut freed = Ok(());
        for _ in 0..UNMOUNT_TRIES {
            freed = call("umount", &[&text(&self.path())]).map(|_| ());
            if freed.is_ok() {
                break;
            }
            thread::sleep(UNMOUNT_PAUSE);
        }
        freed?;
        below.release()
    }
}

impl Mounted {
    /// Takes away what the file system stood on.
    fn release(self) -> anyhow::Result<()> {
        call("losetup", &["--detach", &self.loop_device])?;
        let name = self.loop_device.trim_start_matches("/dev/");
        let attached = Path::new("/sys/block").join(name).join("loop");
        for _ in 0..UNMOUNT_TRIES {
            if !attached.exists() {
                break;
            }
            thread::sleep(UNMOUNT_PAUSE);
        }
        self.session.umount_and_join()?;
        Ok(())
    }
}

/// However a run ends, no mount stays behind.
impl Drop for Volume {
    fn drop(&mut self) {
        self.switch.fail_all();
        if let Err(failure) = self.unmount() {
            println!(
                "the volume below {} could not be taken away: {failure:#}",
                self.folder.display()
            );
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Calls a program and gives what it said.
fn call(program: &str, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {said}", words.join(" "), output.status);
    }
    let said = String::from_utf8(output.stdout)?;
    ensure!(said.lines().count() <= 1, "{program} said more than a line: {said}");
    Ok(said.trim().to_owned())
}
