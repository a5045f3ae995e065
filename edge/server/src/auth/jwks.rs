//! Public keys of an outside identity provider, from a JWKS file (RFC 7517, RFC 8037).
//!
//! Owns which of its keys may verify here: Ed25519 with a key id, for signatures. Others in the
//! file are passed over, since a provider publishes one set for all its relying parties. Nothing
//! is ever fetched: neither the file's own references nor a token's `jku` or `x5u`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringpost_files::{FileError, Rule};
use serde::Deserialize;

/// Largest key file, bytes.
const JWKS_BYTES_MAX: u64 = 256 << 10;
/// Most keys that are taken from it.
const JWKS_KEYS_MAX: usize = 64;

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The file cannot be read, is larger than any key set, or others could change it.
    #[error("auth.jwks_file: {0}")]
    File(FileError),
    /// It is not a JWKS.
    #[error("the key file {} is no JWKS: {error}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// No key in it can verify tokens here.
    #[error(
        "the key file {} has no key that can be used: kty \"OKP\", crv \"Ed25519\", with a kid",
        path.display()
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// More keys than are taken.
    #[error("the key file {} has more than {JWKS_KEYS_MAX} Ed25519 keys", path.display())]
    TooMany {
        /// Which file.
        path: PathBuf,
    },
    /// Two keys with one id, or a key with the id of this server's own.
    #[error("two keys have the id {0:?}")]
    SameId(String),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
}

impl Entry {
    /// Key id and public key, if the key may verify tokens here.
    fn usable(self) -> Option<(String, [u8; 32])> {
        let is_ed25519 = self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519");
        let signs = self.purpose.is_none_or(|purpose| purpose == "sig");
        let algorithm = self.alg.is_none_or(|alg| alg == "EdDSA" || alg == "Ed25519");
        if !(is_ed25519 && signs && algorithm) {
            return None;
        }
        let public = URL_SAFE_NO_PAD.decode(self.x?).ok()?.try_into().ok()?;
        Some((self.kid?, public))
    }
}

/// The usable keys of the file: key id and public key.
///
/// # Errors
/// If the file cannot be read, is no JWKS, has no usable key, or two with one id.
pub(super) fn read(path: &Path) -> Result<Vec<(String, [u8; 32])>, JwksError> {
    // The keys are public; who could write them could sign as anybody.
    let text = ringpost_files::read(path, JWKS_BYTES_MAX, Rule::Named).map_err(JwksError::File)?;
    let set: Set = serde_json::from_slice(&text)
        .map_err(|error| JwksError::Syntax { path: path.to_owned(), error })?;
    let keys: Vec<_> = set.keys.into_iter().filter_map(Entry::usable).collect();
    match keys.len() {
        0 => return Err(JwksError::NoKey { path: path.to_owned() }),
        1..=JWKS_KEYS_MAX => {}
        _ => return Err(JwksError::TooMany { path: path.to_owned() }),
    }
    let mut ids = HashSet::new();
    match keys.iter().find(|(id, _)| !ids.insert(id)) {
        Some((id, _)) => Err(JwksError::SameId(id.clone())),
        None => Ok(keys),
    }
}

/// Whether the file has keys that could be used: for who asks before a server is there.
///
/// # Errors
/// If the file cannot be read, is no JWKS, has no usable key, or two with one id.
pub fn check(path: &Path) -> Result<(), JwksError> {
    read(path).map(drop)
}
