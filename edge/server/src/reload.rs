//! What a running server reads again when it is told so (SIGHUP): the log's level, and the keys
//! that tokens are checked and signed with.
//!
//! Owns which settings can change under a running server. All others keep their value; those that
//! differ are named in the log and wait for a restart. What cannot be read is named too, and what
//! was in use goes on: a mistake in a file never takes a running server down.

use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::{Keys, TokenSigner, TokenVerifier};
use crate::config::{self, Config, Loaded};
use crate::exit::Failure;
use crate::log;
use crate::rest::RestService;

/// Settings that are taken over.
const TAKEN: [&str; 1] = ["log.level"];

/// Reads all settings again, as at the start.
pub type Loader = Box<dyn Fn() -> Result<Loaded, Failure>>;

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
    /// Signs them.
    pub rest: Arc<RestService>,
}

/// What became of it, for the line in the log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    reloaded: Vec<String>,
    refused: Vec<String>,
}

impl Reload {
    /// Reads everything again, and writes one line.
    pub fn run(&mut self) {
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
                self.rest.set_signer(signer);
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
