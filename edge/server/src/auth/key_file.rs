//! Secret keys in the data directory: `keys/token.pk8`, `keys/ticket.key` and `keys/backup.token`.
//!
//! Owns their creation at first boot and their rotation. A file appears whole or not at all, is
//! readable by its owner alone, and is refused where others could have read it.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::Ed25519KeyPair;
use ringpost_files::{FileError, Rule};

use super::ticket::TicketSecrets;
use super::token::TokenSigner;

/// The file of the token for backups.
const BACKUP_TOKEN: &str = "backup.token";

/// Largest key file that is read, bytes.
const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// A key that cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refuses, or others may use the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not hold a key of this kind.
    #[error("{} holds no usable key; restore it from a backup, or move it away to make a new one \
             (all clients then sign in again)", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("no randomness from the system")]
    Random,
}

/// The keys of a data directory.
pub struct Keys {
    /// Signs access tokens.
    pub signer: TokenSigner,
    /// Sign resume tickets.
    pub ticket_secrets: TicketSecrets,
    /// Proves to the private port that who asks may read this directory.
    pub backup_token: String,
}

impl Keys {
    /// Loads the keys of `data_dir`, makes those that do not exist yet, and rotates the ticket
    /// secret when it is due at `wall_ms`.
    ///
    /// # Errors
    /// If a file cannot be read or written, is damaged, or is open to others.
    pub fn open(data_dir: &Path, wall_ms: u64) -> Result<Self, KeyError> {
        let dir = data_dir.join("keys");
        ringpost_files::make_dir(&dir)?;
        let (token, ticket) = (dir.join("token.pk8"), dir.join("ticket.key"));
        // A new data directory has no store yet.
        if data_dir.join("store").exists() {
            for path in [&token, &ticket].into_iter().filter(|path| !path.exists()) {
                let path = path.display();
                tracing::warn!(%path, "the key is missing and made anew: clients sign in again");
            }
        }
        Ok(Self {
            signer: open_signer(&token)?,
            ticket_secrets: open_ticket_secrets(&ticket, wall_ms)?,
            backup_token: open_backup_token(&dir.join(BACKUP_TOKEN))?,
        })
    }

    /// The token with which a backup of a running server is asked for, `None` where none has run.
    ///
    /// # Errors
    /// If it cannot be read, or is open to others.
    pub fn backup_token_of(data_dir: &Path) -> Result<Option<String>, KeyError> {
        let path = data_dir.join("keys").join(BACKUP_TOKEN);
        Ok(read_beside(data_dir, &path)?
            .map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
    }

    /// The signer of a data directory in which a server has run, `None` where none has.
    ///
    /// # Errors
    /// If the key cannot be read, is damaged, or is open to others.
    pub fn signer_of(data_dir: &Path) -> Result<Option<TokenSigner>, KeyError> {
        let path = data_dir.join("keys").join("token.pk8");
        let Some(document) = read_beside(data_dir, &path)? else { return Ok(None) };
        match TokenSigner::from_pkcs8(&document) {
            Some(signer) => Ok(Some(signer)),
            None => Err(KeyError::Damaged { path }),
        }
    }
}

fn open_backup_token(path: &Path) -> Result<String, KeyError> {
    if let Some(text) = read(path)? {
        return Ok(String::from_utf8_lossy(&text).trim().to_owned());
    }
    let mut secret = [0_u8; 32];
    rand::fill(&mut secret).map_err(|_| KeyError::Random)?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    ringpost_files::replace(path, text.as_bytes())?;
    Ok(text)
}

fn open_signer(path: &Path) -> Result<TokenSigner, KeyError> {
    let document = match read(path)? {
        Some(document) => document,
        None => {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                .map_err(|_| KeyError::Random)?;
            ringpost_files::replace(path, made.as_ref())?;
            made.as_ref().to_vec()
        }
    };
    TokenSigner::from_pkcs8(&document).ok_or_else(|| KeyError::Damaged { path: path.to_owned() })
}

fn open_ticket_secrets(path: &Path, wall_ms: u64) -> Result<TicketSecrets, KeyError> {
    let fresh = || -> Result<[u8; 32], KeyError> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| KeyError::Random)?;
        Ok(secret)
    };
    let (secrets, changed) = match read(path)? {
        None => (TicketSecrets::new(fresh()?, wall_ms), true),
        Some(bytes) => {
            let secrets = TicketSecrets::decode(&bytes)
                .ok_or_else(|| KeyError::Damaged { path: path.to_owned() })?;
            if secrets.rotation_due(wall_ms) {
                (secrets.rotated(fresh()?, wall_ms), true)
            } else {
                (secrets, false)
            }
        }
    };
    if changed {
        ringpost_files::replace(path, &secrets.encode())?;
    }
    Ok(secrets)
}

/// The content of a key file, `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    found(ringpost_files::read(path, KEY_FILE_BYTES_MAX, Rule::Secret))
}

/// The same for a command beside the server, which root may run: whoever owns the data directory,
/// under systemd a user who is there only while the server runs, owns its keys.
fn read_beside(data_dir: &Path, path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    let read = |owner| ringpost_files::read(path, KEY_FILE_BYTES_MAX, Rule::SecretOf(owner));
    found(ringpost_files::owner_of(data_dir).and_then(read))
}

fn found(content: Result<Vec<u8>, FileError>) -> Result<Option<Vec<u8>>, KeyError> {
    match content {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::open(dir.path(), 1_000).unwrap();
        let again = Keys::open(dir.path(), 2_000).unwrap();
        assert_eq!(first.signer.key_id(), again.signer.key_id());
        assert_eq!(first.ticket_secrets.encode(), again.ticket_secrets.encode());
        for name in ["token.pk8", "ticket.key"] {
            let mode = std::fs::metadata(dir.path().join("keys").join(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
        }
        let other = tempfile::tempdir().unwrap();
        let other = Keys::open(other.path(), 1_000).unwrap();
        assert_ne!(first.signer.key_id(), other.signer.key_id());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Keys::open(dir.path(), 0).unwrap();
        let path = dir.path().join("keys/token.pk8");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Keys::open(dir.path(), 0).err().expect("refused");
        assert!(error.to_string().contains("found mode 640"), "{error}");
        assert!(error.to_string().contains("`chmod 600 "), "{error}");
    }

    #[test]
    fn a_damaged_key_is_refused_and_never_replaced() {
        for name in ["token.pk8", "ticket.key"] {
            let dir = tempfile::tempdir().unwrap();
            Keys::open(dir.path(), 0).unwrap();
            let path = dir.path().join("keys").join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
            let error = Keys::open(dir.path(), 0).err().expect("refused");
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), whole[..whole.len() - 1]);
        }
    }
}
