//! The archive: one stream of entries with a digest at its end.
//!
//! ```text
//!   "ringpost backup 1\n"
//!   entry: kind:1  name_bytes:2  value_bytes:4  name  value        little-endian
//!     0 to 3  a row of a space of the store: key, value
//!     16      a file of the data directory: name, content
//!     255     the end: no name; position:8  entries:8  SHA-256:32 of all
//!             bytes before this entry and of these two numbers
//! ```
//! Pure: bytes in, bytes out. A reader gives nothing back that has not its whole length; only the end
//! says that all of it is as it was written, so what is read before is not to be used before.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use ringpost_shard::Position;
use ringpost_store::engine::Space;

const MAGIC: &[u8] = b"ringpost backup 1\n";
const FILE: u8 = 16;
const END: u8 = 255;
const END_BYTES: usize = 8 + 8 + 32;

/// Largest name and value of an entry that are read, bytes.
const NAME_BYTES_MAX: usize = 4 << 10;
const VALUE_BYTES_MAX: usize = super::FILE_BYTES_MAX as usize;

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A row of the store.
    Row(Space, Vec<u8>, Bytes),
    /// A file of the data directory, by its name in it.
    File(String, Bytes),
    /// The end: the position of the last record that is in the rows.
    End(Position),
}

/// Writes an archive.
pub struct Writer {
    digest: Context,
    entries: u64,
    out: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        let mut writer = Self { digest: Context::new(&SHA256), entries: 0, out: Vec::new() };
        writer.put(MAGIC);
        writer
    }
}

impl Writer {
    /// Adds a row.
    pub fn row(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.entry(space as u8, key, value);
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(FILE, name.as_bytes(), content);
    }

    /// Ends it.
    pub fn end(&mut self, position: Position) {
        let mut value = Vec::with_capacity(END_BYTES);
        value.extend_from_slice(&position.0.to_le_bytes());
        value.extend_from_slice(&self.entries.to_le_bytes());
        let mut digest = self.digest.clone();
        digest.update(&value);
        value.extend_from_slice(digest.finish().as_ref());
        self.entry(END, &[], &value);
    }

    /// Bytes that wait to be taken.
    pub fn waiting_bytes(&self) -> usize {
        self.out.len()
    }

    /// Takes what was written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn entry(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        let name_bytes = u16::try_from(name.len()).expect("a key is short");
        let value_bytes = u32::try_from(value.len()).expect("a row and a file are short");
        self.put(&[kind]);
        self.put(&name_bytes.to_le_bytes());
        self.put(&value_bytes.to_le_bytes());
        self.put(name);
        self.put(value);
        self.entries += 1;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.out.extend_from_slice(bytes);
    }
}

/// Reads an archive.
pub struct Reader<R> {
    from: R,
    digest: Context,
    entries: u64,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// If it cannot be read or is no archive of this version.
    pub fn new(from: R) -> io::Result<Self> {
        let mut reader = Self { from, digest: Context::new(&SHA256), entries: 0 };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        if magic != MAGIC {
            let text =
                "it is no backup of this version of ringpost, or its first bytes are damaged";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(reader)
    }

    /// The next entry. Behind the end nothing is to be read.
    ///
    /// # Errors
    /// If it cannot be read, is cut short, or is not as it was written.
    pub fn next_entry(&mut self) -> io::Result<Entry> {
        let before = self.digest.clone();
        let mut head = [0; 7];
        self.fill(&mut head)?;
        let [kind, n0, n1, v0, v1, v2, v3] = head;
        let name_bytes = usize::from(u16::from_le_bytes([n0, n1]));
        let value_bytes = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
        if name_bytes > NAME_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            return Err(damaged("an entry is too long"));
        }
        let (mut name, mut value) = (vec![0; name_bytes], vec![0; value_bytes]);
        self.fill(&mut name)?;
        self.fill(&mut value)?;
        self.entries += 1;
        if let Some(&space) = Space::ALL.get(usize::from(kind)) {
            return Ok(Entry::Row(space, name, value.into()));
        }
        match kind {
            FILE => {
                let name = String::from_utf8(name).map_err(|_| damaged("a name is no text"))?;
                Ok(Entry::File(name, value.into()))
            }
            END => self.end(&before, &value),
            _ => Err(damaged("an entry is of no known kind")),
        }
    }

    fn end(&self, before: &Context, value: &[u8]) -> io::Result<Entry> {
        let number = |at: usize| {
            value.get(at..at + 8).and_then(|it| it.try_into().ok()).map(u64::from_le_bytes)
        };
        let (Some(position), Some(entries)) = (number(0), number(8)) else {
            return Err(damaged("its end is cut short"));
        };
        let mut digest = before.clone();
        digest.update(&value[..16]);
        let digest = digest.finish();
        if entries != self.entries - 1 || &value[16..] != digest.as_ref() {
            return Err(damaged("it is not as it was written"));
        }
        Ok(Entry::End(Position(position)))
    }

    fn fill(&mut self, out: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it ends before its end"),
            _ => error,
        })?;
        self.digest.update(out);
        Ok(())
    }
}

fn damaged(what: &'static str) -> io::Error {
    let text = format!("the backup is damaged, use another: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.row(Space::Users, b"key", b"value");
        writer.file("keys/a", b"");
        writer.row(Space::Accounts, b"", &[7; 1_000]);
        writer.end(Position(42));
        writer.take()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        let mut reader = Reader::new(bytes)?;
        let mut entries = Vec::new();
        loop {
            entries.push(reader.next_entry()?);
            if matches!(entries.last(), Some(Entry::End(_))) {
                return Ok(entries);
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let expected = [
            Entry::Row(Space::Users, b"key".into(), Bytes::from_static(b"value")),
            Entry::File("keys/a".to_owned(), Bytes::new()),
            Entry::Row(Space::Accounts, Vec::new(), vec![7; 1_000].into()),
            Entry::End(Position(42)),
        ];
        assert_eq!(read(&sample()).unwrap(), expected);
    }

    #[test]
    fn an_archive_that_is_cut_or_changed_anywhere_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "{at}");
        }
    }
}
