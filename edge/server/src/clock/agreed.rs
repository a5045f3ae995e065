//! The last agreed moment, in a small file of the data directory, for the next life of the node.
//!
//! Written by rename and not flushed: what the power takes with it makes the moment earlier, and
//! an earlier one only keeps things from expiring.

use std::path::{Path, PathBuf};

use ringpost_files::{FileError, Rule};

/// Name of the file in the data directory. It holds milliseconds since 1970 as decimal digits, a space,
/// and the CRC-32 of the digits in eight of hexadecimal: a digit that a disk turned into another one
/// could make it decades later, and no token good any more.
const FILE: &str = "clock";

/// Longest content, bytes: digits of a number of 64 bits, and the checksum.
const FILE_BYTES_MAX: u64 = 32;

/// Where the moment is kept.
#[derive(Debug)]
pub(super) struct AgreedFile {
    path: PathBuf,
}

impl AgreedFile {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE) }
    }

    /// The moment, milliseconds since 1970; `None` if there is none, or none that can be read: then
    /// something else must say how late it is at least.
    pub(super) fn read(&self) -> Option<u64> {
        let text = match ringpost_files::read_text(&self.path, FILE_BYTES_MAX, Rule::Ours) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return None,
            Err(error) => {
                tracing::warn!(%error, "the last agreed date cannot be read");
                return None;
            }
        };
        let moment = parse(&text);
        if moment.is_none() {
            tracing::warn!(path = %self.path.display(), "the last agreed date cannot be read");
        }
        moment
    }

    /// Keeps a moment.
    ///
    /// # Errors
    /// If the file cannot be written; then the moment before stands.
    pub(super) fn write(&self, agreed_ms: u64) -> Result<(), FileError> {
        ringpost_files::replace_unsynced(&self.path, text(agreed_ms).as_bytes())
    }
}

fn text(moment: u64) -> String {
    let digits = moment.to_string();
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

/// The moment, if every character is as it was written.
fn parse(found: &str) -> Option<u64> {
    let moment = found.split(' ').next()?.parse().ok()?;
    (text(moment) == found).then_some(moment)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_moment_is_read_as_it_was_written_and_damage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = AgreedFile::of(dir.path());
        assert_eq!(file.read(), None);
        for moment in [0, 1_800_000_000_000, u64::MAX] {
            file.write(moment).unwrap();
            assert_eq!(file.read(), Some(moment));
        }
        for damage in ["", "yesterday", "-1", "1800000000000\n", "18446744073709551616 00000000\n"]
        {
            fs::write(dir.path().join(FILE), damage).unwrap();
            assert_eq!(file.read(), None, "{damage}");
        }
        file.write(1_800_000_000_000).unwrap();
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            fs::write(dir.path().join(FILE), flipped).unwrap();
            assert_eq!(file.read(), None, "bit {at}");
        }
        fs::write(dir.path().join(FILE), [0xff]).unwrap();
        assert_eq!(file.read(), None);
    }
}
