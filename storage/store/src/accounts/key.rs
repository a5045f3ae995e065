//! The key of the account data: 32 random bytes in a file of the data directory that only the
//! server's user may read. HMAC-SHA-256 of aws-lc-rs, which verifies the access tokens anyway.

use std::path::Path;

use aws_lc_rs::{hmac, rand};
use ringpost_files::{FileError, Rule};

use super::CodeName;
use crate::engine::OpenError;

/// Name of the key's file.
pub const ACCOUNT_KEY_FILE: &str = "accounts.key";

const KEY_BYTES: usize = 32;

/// What a keyed hash is for: no hash of one use is ever one of another.
#[derive(Clone, Copy)]
enum Use {
    Phone = 1,
    Code = 2,
    Check = 3,
    CodeName = 4,
    NoCode = 5,
    Successor = 6,
}

/// The key. Never printed, never logged.
pub struct AccountKey(hmac::Key);

impl AccountKey {
    /// A key of these bytes, for tests and for deployments that keep it elsewhere.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads the key of a data directory; makes it if there is none.
    ///
    /// # Errors
    /// If the file is unreadable or not a key, or cannot be made.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(ACCOUNT_KEY_FILE);
        let failed = |error: FileError| OpenError::io(&path, error.into());
        let bytes = match ringpost_files::read(&path, KEY_BYTES as u64, Rule::Secret) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => make(&path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        let bytes = <&[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| {
            let detail = format!("{ACCOUNT_KEY_FILE} is not {KEY_BYTES} bytes long");
            OpenError::damaged(directory, detail)
        })?;
        Ok(Self::from_bytes(bytes))
    }

    pub(super) fn phone(&self, phone: &str) -> [u8; 32] {
        self.hash(Use::Phone, &[phone.as_bytes()])
    }

    /// The name under which a code is kept: of its phone and its request, of which each makes
    /// another name.
    pub(super) fn code_name(&self, name: CodeName<'_>) -> [u8; 32] {
        // The first part has a fixed length, so that no two pairs make one text.
        self.hash(Use::CodeName, &[&self.phone(name.phone), name.request.as_bytes()])
    }

    /// Bound to its name: equal codes of two requests do not look alike.
    pub(super) fn code(&self, name: &[u8; 32], code: &str) -> [u8; 32] {
        self.hash(Use::Code, &[name, code.as_bytes()])
    }

    /// What no code has as its hash, because it is of another use.
    pub(super) fn no_code(&self, name: &[u8; 32]) -> [u8; 32] {
        self.hash(Use::NoCode, &[name])
    }

    /// What follows a refresh token.
    pub(super) fn successor(&self, token: &str) -> [u8; 32] {
        self.hash(Use::Successor, &[token.as_bytes()])
    }

    /// Tells whether rows were written with this key.
    pub(super) fn check(&self) -> [u8; 32] {
        self.hash(Use::Check, &[])
    }

    fn hash(&self, purpose: Use, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[purpose as u8]);
        parts.iter().for_each(|part| context.update(part));
        let tag = context.sign();
        tag.as_ref().try_into().expect("a SHA-256 tag has 32 bytes")
    }
}

/// Makes the key's file. Durable under its name or not there at all.
fn make(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).expect("the system has randomness");
    ringpost_files::make_dir(path.parent().expect("it stands in a directory"))?;
    ringpost_files::replace(path, &bytes)?;
    Ok(bytes.to_vec())
}
