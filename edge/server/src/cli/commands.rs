//! The small commands: each takes what it needs and returns the text to print.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use ringpost_journal::Inspection;
use ringpost_wire::{DeviceId, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::Token;
use crate::admin::AdminToken;
use crate::auth::Keys;
use crate::backup::{fetch, restore};
use crate::boot;
use crate::clock;
use crate::config::{self, Config, Limits, Loaded, Origin};
use crate::exit::{Failure, Kind};
use crate::host::Host;
use crate::node;

/// `check-config`: fails on any mistake, in the settings or in the files that they name, else says what the settings allow.
pub(super) fn check_config(loaded: &Loaded, keys: bool) -> Result<String, Failure> {
    config::check(loaded)?;
    node::check_files(&loaded.config)?;
    let limits = Limits::compute(&loaded.config, &Host::of_this_process())?;
    let mut text = String::new();
    if keys {
        text.push_str(&list_keys(loaded));
        text.push('\n');
    }
    text.push_str(&boot::memory_text(&limits));
    let _ = writeln!(text, "The configuration is good: {} set, the rest default.", {
        let set = loaded.origins.len();
        if set == 1 { "1 key".to_owned() } else { format!("{set} keys") }
    });
    Ok(text)
}

fn list_keys(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (key, value) in config::values(&loaded.config) {
        let origin = loaded.origins.get(&key).unwrap_or(&Origin::Default);
        let variable = config::env_name(&key);
        let _ = writeln!(text, "{key} = {value}  # {origin}; {variable}");
    }
    text
}

/// `self-test`: what the kernel offers, found out by using it.
pub(super) fn self_test() -> Result<String, Failure> {
    let report = ringpost_ring::self_test().map_err(|error| Failure::new(Kind::Host, error))?;
    Ok(format!(
        "The kernel offers all that is needed: {} connections a ring, receives {}capped by turn, \
         sends {}kept from ending sleeps.",
        report.slots,
        if report.caps_receives { "" } else { "not " },
        if report.sleeps_past_sends { "" } else { "not " },
    ))
}

/// `journal inspect`: what is in a journal.
pub(super) fn inspect(directory: &Path) -> Result<Inspection, Failure> {
    ringpost_journal::inspect(directory).map_err(|error| Failure::new(Kind::Storage, error))
}

/// Fails if the journal is damaged; the listing has said where.
pub(super) fn sound(inspection: &Inspection) -> Result<(), Failure> {
    match inspection.damage.len() {
        0 => Ok(()),
        _ => Err(Failure::new(Kind::Storage, anyhow!("the journal is damaged (see above)"))),
    }
}

/// A token as machines read it.
#[derive(Serialize)]
struct TokenLine {
    user_id: Uuid,
    device: u8,
    token: String,
    /// Seconds.
    expires_in: u64,
}

/// `token`: access tokens for development. One a line; a new user with all that a client needs to
/// know; or as JSON.
pub(super) fn token(config: &Config, asked: &Token) -> Result<String, Failure> {
    let signer = Keys::signer_of(&config.data_dir)?.ok_or_else(|| {
        let dir = config.data_dir.display();
        let error = anyhow!("{dir} has no signing key yet; start the server there once");
        Failure::new(Kind::Usage, error)
    })?;
    let device = DeviceId::new(asked.device).expect("the argument parser takes 1 to 127");
    let ttl = asked.ttl.map_or(config.auth.access_ttl, Duration::from_secs);
    let (issuer, audience) = (&config.auth.issuer, &config.auth.audience);
    let now_ms = clock::wall_ms();
    let new = asked.new.then(Uuid::new_v4);
    let lines = asked.users.iter().copied().chain(new).map(|user| {
        let issued = signer.sign(issuer, audience, (UserId::from(user), device), now_ms, ttl);
        let line = TokenLine {
            user_id: user,
            device: device.number(),
            token: issued.token,
            expires_in: issued.expires_in_s,
        };
        match asked {
            Token { json: true, .. } => serde_json::to_string(&line).expect("it is plain JSON"),
            Token { new: true, .. } => {
                format!("user    {user}\ndevice  {}\ntoken   {}", line.device, line.token)
            }
            _ => line.token,
        }
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// `backup`: of the running server, into a file.
pub(super) fn backup(config: &Config, file: &Path) -> Result<String, Failure> {
    let token = match config.admin.token_file.as_os_str().is_empty() {
        true => Keys::backup_token_of(&config.data_dir)?.ok_or_else(|| {
            let dir = config.data_dir.display();
            let error = anyhow!("{dir} is no data directory in which a server has run");
            Failure::new(Kind::Usage, error)
        })?,
        false => AdminToken::text(&config.admin.token_file)
            .map_err(|error| Failure::new(Kind::Config, error))?,
    };
    fetch::fetch(config.admin.listen, &token, file)
        .map_err(|error| Failure::new(Kind::Unavailable, error))
}

/// `restore`: a data directory of a backup.
pub(super) fn restore(config: &Config, file: &Path) -> Result<String, Failure> {
    restore::restore(file, &config.data_dir).map_err(|error| Failure::new(Kind::Storage, error))
}
