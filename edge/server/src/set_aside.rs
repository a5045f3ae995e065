//! Poison: records that bring the process down, and what becomes of them.
//!
//! ```text
//!  panic ──hook──> set-aside/crashes: the records that the thread was at ──abort──> start
//!  start: a record that a crash named ──alone──> store          (so that the next crash names it)
//!         one that CRASHES_MAX crashes named ──> set-aside/<position>.record, and is passed over
//! ```
//! A bug aborts the process, and the start applies the same record again. So that one record does not
//! keep a server down for ever, its crashes are counted; after the third it is set aside with its
//! bytes, named in `/readyz` and counted, and everybody else is served. Only a crash that says itself
//! which record it was at is counted: `kill -9`, a full memory or a loss of power are no record's
//! fault, and leave no line.
//!
//! A set-aside record is never read again by the server. Its file holds the position and the length of
//! its head, eight and four bytes little-endian, then head and body as the journal has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ringpost_files::{FileError, Rule};
use ringpost_shard::Position;
use ringpost_shard::at_hand::{self, Span};

/// Crashes that name a record alone, after which it is set aside.
const CRASHES_MAX: u32 = 3;

/// Bytes at the end of the list of crashes that are read. Each start drops what is over; between two
/// starts there is one crash.
const LIST_BYTES_MAX: u64 = 64 << 10;

/// The folder within a data directory, and the list in it.
const FOLDER: &str = "set-aside";
const LIST: &str = "crashes";
const SUFFIX: &str = ".record";

/// Has each panic, on whatever thread, note the records that the thread was at. The process aborts
/// behind it, so the note is durable when the hook returns. A second call changes only where.
pub fn note_crashes(data_dir: &Path) {
    static NOTED_IN: OnceLock<PathBuf> = OnceLock::new();
    if NOTED_IN.set(data_dir.join(FOLDER)).is_err() {
        return;
    }
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        inherited(panic);
        if let (Some(span), Some(folder)) = (at_hand::current(), NOTED_IN.get()) {
            // A disk that takes no note leaves the crash uncounted: then it is one more.
            let _ = append(folder, span);
        }
    }));
}

fn append(folder: &Path, Span { after, through }: Span) -> io::Result<()> {
    ringpost_files::make_dir(folder)?;
    let mut list = ringpost_files::open_to_append(&folder.join(LIST))?;
    writeln!(list, "{} {}", after.0, through.0)?;
    list.sync_all()
}

/// What is to be done with a record of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing speaks against it.
    Apply,
    /// A crash named it, alone or among others: apply it with no other.
    ApplyAlone,
    /// It stays out.
    SetAside,
}

/// The records that are set aside, and those that are under suspicion.
#[derive(Debug)]
pub struct SetAside {
    folder: PathBuf,
    crashes: BTreeMap<u64, u32>,
    suspected: Vec<Span>,
    positions: BTreeSet<u64>,
}

impl SetAside {
    /// Reads what earlier runs have left in a data directory. Crashes at records that the store has
    /// persisted are over, and forgotten.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn open(data_dir: &Path, persisted: Position) -> io::Result<Self> {
        let folder = data_dir.join(FOLDER);
        let mut it = Self {
            positions: positions(&folder)?,
            folder,
            crashes: BTreeMap::new(),
            suspected: Vec::new(),
        };
        let mut spans = read_list(&it.folder)?;
        let read = spans.len();
        spans.retain(|span| span.through > persisted);
        if spans.len() < read {
            it.rewrite_list(&spans)?;
        }
        for span in spans {
            match span.single() {
                Some(position) => *it.crashes.entry(position.0).or_default() += 1,
                None => it.suspected.push(span),
            }
        }
        Ok(it)
    }

    /// What is to be done with a record; sets it aside if it is time.
    ///
    /// # Errors
    /// If its bytes cannot be kept: then it must not be passed over.
    pub fn judge(&mut self, position: Position, head: &[u8], body: &[u8]) -> io::Result<Verdict> {
        if self.contains(position) {
            return Ok(Verdict::SetAside);
        }
        let crashes = self.crashes.get(&position.0).copied().unwrap_or(0);
        if crashes >= CRASHES_MAX {
            self.keep(position, head, body)?;
            return Ok(Verdict::SetAside);
        }
        let is_in = |span: &Span| span.after < position && position <= span.through;
        let is_suspected = crashes > 0 || self.suspected.iter().any(is_in);
        Ok(if is_suspected { Verdict::ApplyAlone } else { Verdict::Apply })
    }

    /// Whether a record is set aside.
    pub fn contains(&self, position: Position) -> bool {
        self.positions.contains(&position.0)
    }

    /// How many are.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Which, and where their bytes are, for people.
    pub fn describe(&self) -> String {
        /// Named of them; the folder has all.
        const NAMED_MAX: usize = 16;
        let named: Vec<_> = self.positions.iter().take(NAMED_MAX).map(u64::to_string).collect();
        let more = if self.len() > NAMED_MAX { ", ..." } else { "" };
        format!(
            "{} of the journal set aside because each brought the server down {CRASHES_MAX} times: \
             position {}{more}; kept in {}",
            if self.len() == 1 { "1 record".to_owned() } else { format!("{} records", self.len()) },
            named.join(", "),
            self.folder.display()
        )
    }

    fn keep(&mut self, position: Position, head: &[u8], body: &[u8]) -> Result<(), FileError> {
        ringpost_files::make_dir(&self.folder)?;
        let path = self.folder.join(format!("{:020}{SUFFIX}", position.0));
        let head_bytes = (head.len() as u32).to_le_bytes();
        let content = [&position.0.to_le_bytes()[..], &head_bytes, head, body].concat();
        ringpost_files::replace(&path, &content)?;
        self.positions.insert(position.0);
        Ok(())
    }

    fn rewrite_list(&self, spans: &[Span]) -> Result<(), FileError> {
        let line = |Span { after, through }: &Span| format!("{} {}\n", after.0, through.0);
        let list: String = spans.iter().map(line).collect();
        ringpost_files::replace(&self.folder.join(LIST), list.as_bytes())
    }
}

/// The records in the folder.
fn positions(folder: &Path) -> io::Result<BTreeSet<u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut positions = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name().into_string().unwrap_or_default();
        positions.extend(name.strip_suffix(SUFFIX).and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(positions)
}

/// The crashes in the list. A line that is not whole (the power went with it) is none.
fn read_list(folder: &Path) -> io::Result<Vec<Span>> {
    let mut list = match ringpost_files::open_to_read(&folder.join(LIST), Rule::Ours) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        list => list?,
    };
    let length = list.metadata()?.len();
    list.seek(SeekFrom::Start(length.saturating_sub(LIST_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    list.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let span = |line: &str| {
        let (after, through) = line.strip_suffix('\n')?.split_once(' ')?;
        let span =
            Span { after: Position(after.parse().ok()?), through: Position(through.parse().ok()?) };
        (span.after < span.through).then_some(span)
    };
    Ok(text.split_inclusive('\n').filter_map(span).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(dir: &Path, after: u64, through: u64) {
        let span = Span { after: Position(after), through: Position(through) };
        append(&dir.join(FOLDER), span).expect("the directory is ours");
    }

    fn open(dir: &Path, persisted: u64) -> SetAside {
        SetAside::open(dir, Position(persisted)).expect("the directory is ours")
    }

    fn judge(it: &mut SetAside, position: u64) -> Verdict {
        it.judge(Position(position), b"head", b"body").expect("there is room")
    }

    #[test]
    fn a_record_is_set_aside_after_three_crashes_that_name_it_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(judge(&mut open(dir.path(), 0), 7), Verdict::Apply, "nothing has happened");
        crash(dir.path(), 4, 9);
        let mut it = open(dir.path(), 0);
        let verdicts: Vec<_> = [4, 5, 9, 10].map(|position| judge(&mut it, position)).into();
        let (apply, alone) = (Verdict::Apply, Verdict::ApplyAlone);
        assert_eq!(verdicts, [apply, alone, alone, apply], "one of them it was");
        for _ in 0..2 {
            crash(dir.path(), 6, 7);
            assert_eq!(judge(&mut open(dir.path(), 0), 7), alone);
        }
        crash(dir.path(), 6, 7);
        let mut it = open(dir.path(), 0);
        assert_eq!(judge(&mut it, 8), alone);
        assert_eq!(judge(&mut it, 7), Verdict::SetAside);
        assert!(it.contains(Position(7)) && it.len() == 1);
        assert!(it.describe().contains("position 7"), "{}", it.describe());
        let kept = fs::read(dir.path().join("set-aside/00000000000000000007.record"));
        let expected = [&7_u64.to_le_bytes()[..], &4_u32.to_le_bytes(), b"head", b"body"].concat();
        assert_eq!(kept.expect("its bytes are kept"), expected);
        // For good, also when its crashes are forgotten.
        assert_eq!(judge(&mut open(dir.path(), 9), 7), Verdict::SetAside);
        assert_eq!(fs::read(dir.path().join("set-aside/crashes")).expect("a list"), b"");
    }

    #[test]
    fn crashes_at_what_the_store_has_are_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        (0..3).for_each(|_| crash(dir.path(), 6, 7));
        crash(dir.path(), 9, 10);
        let mut it = open(dir.path(), 8);
        assert_eq!(judge(&mut it, 7), Verdict::Apply);
        assert_eq!(judge(&mut it, 10), Verdict::ApplyAlone);
    }

    #[test]
    fn a_list_that_is_not_whole_is_read_as_far_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        crash(dir.path(), 6, 7);
        let list = dir.path().join("set-aside/crashes");
        let mut bytes = fs::read(&list).expect("a list");
        bytes.extend_from_slice(b"\xff\xff\nnonsense\n9 9\n8 9");
        fs::write(&list, bytes).expect("the directory is ours");
        let mut it = open(dir.path(), 0);
        assert_eq!(judge(&mut it, 7), Verdict::ApplyAlone);
        assert_eq!(judge(&mut it, 9), Verdict::Apply);
    }
}
