//! `ringpost restore FILE`: a data directory made of a backup.
//!
//! It is made beside its place and gets its name when it is whole and durable, so that no server ever
//! starts on a half of it.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ringpost_files::Rule;
use ringpost_shard::Position;
use ringpost_store::rows::Filling;

use super::archive::{Entry, Reader};
use super::{FILES, SET_ASIDE};
use crate::data_dir::DataDir;

/// Makes `data_dir`, which is not there or empty, from a backup; answers what it holds, for people.
///
/// # Errors
/// If the directory is in use, the backup is not whole, or something cannot be written; then
/// `data_dir` is as it was.
pub fn restore(file: &Path, data_dir: &Path) -> anyhow::Result<String> {
    if let Ok(mut entries) = fs::read_dir(data_dir) {
        ensure!(
            entries.next().is_none(),
            "{} is not empty; name a new directory",
            data_dir.display()
        );
    }
    let mut beside = data_dir.as_os_str().to_owned();
    beside.push(".restoring");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        bail!("{} is left of a restore that was cut short; remove it first", beside.display());
    }
    let archive = ringpost_files::open_to_read(file, Rule::NamedSecret)?;
    let reader = Reader::new(BufReader::new(archive))
        .with_context(|| format!("cannot restore from {}", file.display()))?;
    let made =
        make(reader, &beside).with_context(|| format!("cannot restore from {}", file.display()));
    if made.is_err() {
        // Nothing in it is worth keeping.
        let _ = fs::remove_dir_all(&beside);
    }
    let (rows, position) = made?;
    fs::rename(&beside, data_dir)?;
    let outer = data_dir.parent().filter(|dir| !dir.as_os_str().is_empty());
    ringpost_files::sync_dir(outer.unwrap_or(Path::new(".")))?;
    Ok(format!("{}: {rows} rows, as of position {}", data_dir.display(), position.0))
}

fn make(mut reader: Reader<BufReader<fs::File>>, dir: &Path) -> anyhow::Result<(u64, Position)> {
    let held = DataDir::open(dir)?;
    let mut store = Filling::begin(&dir.join("store"))?;
    let mut rows = 0;
    let position = loop {
        match reader.next_entry()? {
            Entry::Row(space, key, value) => {
                store.add(space, &key, value)?;
                rows += 1;
            }
            Entry::File(name, content) => {
                ensure!(is_ours(&name), "it holds a file of another name");
                let path = dir.join(name);
                ringpost_files::make_dir(path.parent().expect("it stands in the directory"))?;
                ringpost_files::replace(&path, &content)?;
            }
            Entry::End(position) => break position,
        }
    };
    store.finish()?;
    ringpost_journal::Directory::begin_behind(&dir.join("journal"), position.0)?;
    drop(held);
    Ok((rows, position))
}

/// A name that a backup may hold, and none that leads out of the directory.
fn is_ours(name: &str) -> bool {
    let aside = name.strip_prefix(SET_ASIDE).and_then(|rest| rest.strip_prefix('/'));
    let is_aside = aside.is_some_and(|rest| !rest.contains('/') && rest != ".." && rest != ".");
    FILES.contains(&name) || is_aside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for name in ["keys/token.pk8", "clock", "set-aside/crashes", "set-aside/7.record"] {
            assert!(is_ours(name), "{name}");
        }
        for name in
            ["../x", "/etc/passwd", "set-aside/..", "set-aside/a/b", "LOCK", "set-aside", ""]
        {
            assert!(!is_ours(name), "{name}");
        }
    }
}
