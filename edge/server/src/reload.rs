//! What a running server reads again when it is told so (SIGHUP): the log's level, and the keys
//! that tokens are checked and signed with.
//!
//! Owns which settings can change under a running server. All others keep their value; those that
//! differ are named in the log and wait for a restart. What cannot be read is named too, and what
//! was in use goes on: a mistake in a file never takes a running server down.
//!
//! Files are read by a thread of their own, which nobody waits for: where one does not answer, the
//! server serves with what it has, and a stop goes past it.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use crate::auth::{Keys, TokenSigner, TokenVerifier};
use crate::config::{self, Config, Loaded};
use crate::exit::Failure;
use crate::{log, supervisor};

/// Settings that are taken over.
const TAKEN: [&str; 1] = ["log.level"];

/// Whose lines the log writes at every level: they answer an operator.
pub const TARGET: &str = module_path!();

/// Reads all settings again, as at the start.
pub type Loader = Box<dyn Fn() -> Result<Loaded, Failure> + Send>;

/// Makes what checks tokens of the settings and the server's own key.
pub type MakeVerifier = fn(&Config, &TokenSigner) -> Result<TokenVerifier, Failure>;

/// What is read again, and for whom.
pub struct Reload {
    /// Reads the settings.
    pub load: Loader,
    /// The settings that are in force.
    pub config: Config,
    /// Where the server's own key is.
    pub data_dir: PathBuf,
    /// Checks tokens.
    pub verifier: Arc<TokenVerifier>,
    /// Makes one of the settings and the server's own key.
    pub make_verifier: MakeVerifier,
    /// What they are signed with.
    pub signer: Arc<RwLock<TokenSigner>>,
}

/// The thread that reads. It ends with this, or with the process if a file does not answer.
#[derive(Debug)]
pub struct Reloader(SyncSender<()>);

impl Reloader {
    /// Has everything read again, behind what is being read. Never waits.
    pub fn ask(&self) {
        // One that waits already sees all that the next would.
        let _ = self.0.try_send(());
    }
}

/// What became of it, for the line in the log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    reloaded: Vec<String>,
    refused: Vec<String>,
}

impl Reload {
    /// Starts the thread that reads when it is asked.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(mut self) -> io::Result<Reloader> {
        let (ask, asked) = mpsc::sync_channel(1);
        thread::Builder::new().name("reload".to_owned()).spawn(move || {
            // Ends: with its owner. A round is one reload.
            for () in asked {
                supervisor::reloading();
                self.run();
                supervisor::ready();
            }
        })?;
        Ok(Reloader(ask))
    }

    /// Reads everything again, and writes one line.
    fn run(&mut self) {
        let mut outcome = Outcome::default();
        self.settings(&mut outcome);
        self.keys(&mut outcome);
        let (reloaded, refused) = (outcome.reloaded.join("; "), outcome.refused.join("; "));
        if refused.is_empty() {
            tracing::info!(reloaded, "settings and keys were read again");
        } else {
            tracing::warn!(reloaded, refused, "settings and keys were read again, not all taken");
        }
    }

    fn settings(&mut self, outcome: &mut Outcome) {
        let config = match (self.load)() {
            Ok(loaded) => loaded.config,
            Err(error) => return outcome.refused.push(format!("settings: {error}")),
        };
        log::set_level(config.log.level);
        outcome.reloaded.push("log.level".to_owned());
        outcome.refused.extend(needs_restart(&self.config, &config));
        self.config.log.level = config.log.level;
    }

    fn keys(&mut self, outcome: &mut Outcome) {
        let signer = match Keys::signer_of(&self.data_dir) {
            Ok(Some(signer)) => signer,
            Ok(None) => return outcome.refused.push("token key: it is gone".to_owned()),
            Err(error) => return outcome.refused.push(format!("token key: {error}")),
        };
        match (self.make_verifier)(&self.config, &signer) {
            Ok(verifier) => {
                let count = self.verifier.take_keys(verifier);
                *self.signer.write().unwrap_or_else(PoisonError::into_inner) = signer;
                outcome.reloaded.push(format!("token keys ({count})"));
            }
            Err(error) => outcome.refused.push(format!("token keys: {error}")),
        }
    }
}

/// Settings that differ and are not taken over, by name: values may be nobody else's business.
fn needs_restart(old: &Config, new: &Config) -> Option<String> {
    let old = config::values(old);
    let differs = |(key, value): &(String, String)| {
        !TAKEN.contains(&key.as_str()) && !old.iter().any(|(k, v)| k == key && v == value)
    };
    let keys: Vec<String> =
        config::values(new).into_iter().filter(differs).map(|(key, _)| key).collect();
    (!keys.is_empty()).then(|| format!("{} (a restart takes them)", keys.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn what_waits_for_a_restart_is_named_without_its_value() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(needs_restart(&old, &new), None);
        new.log.level = LogLevel::Debug;
        assert_eq!(needs_restart(&old, &new), None);
        new.workers = 3;
        new.auth.audience = "secret".to_owned();
        let text = needs_restart(&old, &new).unwrap();
        assert_eq!(text, "auth.audience, workers (a restart takes them)");
    }
}
