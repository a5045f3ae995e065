//! What a store says of itself outside of its engine: which store it is, and how many commits its
//! engine holds at least. An engine that has lost a file may open all the same, with less in it.
//!
//! ```text
//! WITNESS   slot at 0, slot at 4096
//! slot      identity:16 commits:8 digest:8      the digest is the head of the SHA-256 of the rest
//! ```
//! The slots are written by turns, in place, each with a sync: one that was torn by the loss of power
//! leaves the other. Invariant: `commits` is never more than what the engine has made durable.
//! Integers are big-endian.
#![allow(clippy::disallowed_methods, reason = "the witness is a file")]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aws_lc_rs::{digest, rand};
use ringpost_files::FileError;

use super::OpenError;

const FILE: &str = "WITNESS";

/// Where the slots stand, bytes: in blocks of their own, so that no write touches both.
const SLOTS_AT: [u64; 2] = [0, 4_096];

const IDENTITY_BYTES: usize = 16;
const DIGEST_BYTES: usize = 8;
const SLOT_BYTES: usize = IDENTITY_BYTES + 8 + DIGEST_BYTES;

/// Which store: random, chosen when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity(pub(super) [u8; IDENTITY_BYTES]);

impl Identity {
    pub(super) fn random() -> Self {
        let mut bytes = [0; IDENTITY_BYTES];
        rand::fill(&mut bytes).expect("the system has randomness");
        Self(bytes)
    }
}

/// The witness of a store that is open.
pub(super) struct Witness {
    file: File,
    pub(super) identity: Identity,
    /// So many commits are durable.
    pub(super) commits: u64,
    /// The slot that is written next: the one that says less.
    next_slot: usize,
}

impl Witness {
    /// The witness of the store in `directory`, `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or no slot of it can be believed.
    pub(super) fn open(directory: &Path) -> Result<Option<Self>, OpenError> {
        let file = match ringpost_files::open_to_write(&directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(OpenError::io(directory, error.into())),
        };
        let mut best: Option<(usize, Identity, u64)> = None;
        for (slot, at) in SLOTS_AT.into_iter().enumerate() {
            let mut bytes = [0; SLOT_BYTES];
            match file.read_exact_at(&mut bytes, at) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(OpenError::io(directory, error)),
            }
            let Some((identity, commits)) = decode(&bytes) else { continue };
            if best.is_none_or(|(_, _, most)| commits > most) {
                best = Some((slot, identity, commits));
            }
        }
        let Some((slot, identity, commits)) = best else {
            return Err(OpenError::damaged(directory, format!("{FILE} cannot be read")));
        };
        Ok(Some(Self { file, identity, commits, next_slot: 1 - slot }))
    }

    /// Makes the witness of a new store. Durable when it returns.
    pub(super) fn create(
        directory: &Path,
        identity: Identity,
        commits: u64,
    ) -> Result<Self, OpenError> {
        let failed = |error: FileError| OpenError::io(directory, error.into());
        let path = directory.join(FILE);
        let slot = encode(identity, commits);
        let mut content = vec![0; SLOTS_AT[1] as usize + SLOT_BYTES];
        for at in SLOTS_AT {
            content[at as usize..][..SLOT_BYTES].copy_from_slice(&slot);
        }
        ringpost_files::replace(&path, &content).map_err(failed)?;
        let file = ringpost_files::open_to_write(&path).map_err(failed)?;
        Ok(Self { file, identity, commits, next_slot: 0 })
    }

    /// Says that so many commits are durable. Durable when it returns.
    ///
    /// # Errors
    /// If it cannot be written; then what it said before stands.
    pub(super) fn raise(&mut self, commits: u64) -> io::Result<()> {
        if commits <= self.commits {
            return Ok(());
        }
        let slot = encode(self.identity, commits);
        self.file.write_all_at(&slot, SLOTS_AT[self.next_slot])?;
        self.file.sync_data()?;
        self.commits = commits;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

fn encode(Identity(identity): Identity, commits: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let (said, digest) = slot.split_at_mut(SLOT_BYTES - DIGEST_BYTES);
    said[..IDENTITY_BYTES].copy_from_slice(&identity);
    said[IDENTITY_BYTES..].copy_from_slice(&commits.to_be_bytes());
    digest.copy_from_slice(&digest_of(said));
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(Identity, u64)> {
    let (said, digest) = slot.split_at(SLOT_BYTES - DIGEST_BYTES);
    if digest != digest_of(said) {
        return None;
    }
    let (identity, commits) = said.split_at(IDENTITY_BYTES);
    Some((Identity(identity.try_into().ok()?), u64::from_be_bytes(commits.try_into().ok()?)))
}

fn digest_of(said: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest = digest::digest(&digest::SHA256, said);
    std::array::from_fn(|index| digest.as_ref()[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(directory: &Path) -> Witness {
        Witness::open(directory).unwrap().expect("there is one")
    }

    #[test]
    fn what_was_said_is_read_again_and_never_less() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Witness::open(directory.path()).unwrap().is_none());
        let identity = Identity([7; IDENTITY_BYTES]);
        let mut witness = Witness::create(directory.path(), identity, 1).unwrap();
        for commits in [2, 3, 9, 4, 10] {
            witness.raise(commits).unwrap();
            let found = reopened(directory.path());
            assert_eq!((found.identity, found.commits), (identity, witness.commits));
        }
        assert_eq!(witness.commits, 10);
    }

    #[test]
    fn a_torn_slot_leaves_the_other_and_two_are_damage() {
        let directory = tempfile::tempdir().unwrap();
        let mut witness = Witness::create(directory.path(), Identity::random(), 1).unwrap();
        witness.raise(5).unwrap();
        witness.raise(6).unwrap();
        let last = 1 - witness.next_slot;
        witness.file.write_all_at(b"torn", SLOTS_AT[last]).unwrap();
        let mut found = reopened(directory.path());
        assert_eq!(found.commits, 5);
        found.raise(7).unwrap();
        assert_eq!(reopened(directory.path()).commits, 7);
        for at in SLOTS_AT {
            found.file.write_all_at(b"torn", at).unwrap();
        }
        assert!(matches!(Witness::open(directory.path()), Err(OpenError::Damaged { .. })));
        for length in [0, 10] {
            found.file.set_len(length).unwrap();
            assert!(matches!(Witness::open(directory.path()), Err(OpenError::Damaged { .. })));
        }
    }
}
