//! The command line: what can be asked, and the help that teaches it.
//!
//! Owns the arguments and which layer of the configuration they become. The commands themselves
//! stand in `commands`; `serve` is handed in by the binary, which alone wires all layers.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, Sources};
use crate::exit::{Failure, Kind};
use crate::reload::Loader;
use crate::{node, output, signals, try_tour};

const AFTER_HELP: &str = "\
Start here:
  ringpost try                          a tour: what it does, and that it does it
  ringpost                              serve on 127.0.0.1:7400, data in ./ringpost-data
  ringpost check-config                 is the configuration good, and what does it allow?
  ringpost token --new                  ids and an access token, for development; the user exists
                                        once it has signed in
  ringpost self-test                    does this kernel offer what the server needs?
  ringpost backup FILE                  a backup of the running server; `restore FILE` makes a
                                        data directory of it

Settings come from defaults, then the file (--config, or RINGPOST_CONFIG), then the environment
(RINGPOST_LIMITS__MESSAGE_BYTES_MAX=32KiB), then flags (--set limits.message_bytes_max=32KiB); the
later wins. `ringpost check-config --keys` lists all keys with their values and variables.

Exit codes: 0 done, 2 command line, 64 argument, 69 check failed, 70 bug, 71 host refuses,
73 journal not written, 74 storage, 75 busy (another server), 78 configuration, 130 and 143 ended at
once by a second SIGINT or SIGTERM, 134 bug that aborts.";

/// A durable messaging server: binary protocol, WebSocket and REST on one port.
#[derive(Parser, Debug)]
#[command(name = "ringpost", version, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug, Clone, Default, PartialEq)]
struct Settings {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting by its dotted key; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Where clients connect, several parted by commas [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where health, metrics and administration are served [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Where everything is kept [default: ./ringpost-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Worker threads, 0 = one for each core that the process may use [default: 0]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve clients (what happens without a command)
    Serve(Settings),
    /// Check all settings and the files that they name, and say what they allow; changes nothing
    ///
    /// Run it as the user of the server: who owns a file is looked at.
    CheckConfig {
        /// List every key with its value, where it was set, and its environment variable
        #[arg(long)]
        keys: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print access tokens signed with the key of the data directory, for development
    ///
    /// With --new, a user who did not exist before, with its device and token. The server must have
    /// run once in the data directory (its first start makes the key). Whoever can run this can be
    /// any user: guard the directory.
    Token(Token),
    /// A tour: two people, every promise checked against a real server that is killed on the way
    ///
    /// It takes no settings: the server runs on a temporary directory and free ports.
    Try,
    /// Check that the kernel offers what the server needs, by doing it
    SelfTest,
    /// Take a backup of the running server into a new file
    ///
    /// All that was acknowledged when it is asked for is in it. The server goes on meanwhile; it is
    /// asked at admin.listen, with the token of admin.token_file or of the data directory.
    Backup {
        /// The file, which must not be there
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Make a data directory of a backup
    ///
    /// The directory (--data-dir) must be empty or not there.
    Restore {
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Look into a journal, read-only
    #[command(subcommand)]
    Journal(Journal),
    /// Try direct I/O in a journal's directory (a child process of `serve`)
    #[command(name = node::PROBE_COMMAND, hide = true)]
    JournalProbe {
        /// The journal's directory
        directory: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
enum Journal {
    /// List segments, batches and damage of the journal in DIR (`<data_dir>/journal`)
    ///
    /// Exit code 74 if anything is damaged. The server may be running: what it writes meanwhile
    /// can look unfinished.
    Inspect {
        /// The journal's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Token {
    /// The user; may be given several times, for a token on a line each
    #[arg(long = "user", value_name = "UUID", required_unless_present = "new")]
    users: Vec<uuid::Uuid>,
    /// A new user, with a random id; prints user, device and token
    #[arg(long, conflicts_with = "users")]
    new: bool,
    /// The device, 1 to 127
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=127))]
    device: u8,
    /// Seconds until it expires [default: auth.access_ttl]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl: Option<u64>,
    /// For machines: user_id, device, token and expires_in as a JSON object on a line each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Reads the command line and does what it asks; `serve` is the server, which is given what reads
/// and checks its settings.
///
/// The signals of a server are held back when this is called.
pub fn main(serve: impl FnOnce(Loader) -> Result<(), Failure>) -> ExitCode {
    let line = CommandLine::parse();
    let code = match run(line, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.to_string());
            failure.exit_code()
        }
    };
    output::flush();
    code
}

fn run(
    line: CommandLine,
    serve: impl FnOnce(Loader) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let outer = line.settings;
    let command = line.command.unwrap_or(Command::Serve(Settings::default()));
    if !matches!(command, Command::Serve(_)) {
        signals::release();
    }
    match command {
        Command::Serve(settings) => {
            let load = settings.over(outer).loader();
            let checked = move || -> Result<Loaded, Failure> {
                let loaded = load()?;
                config::check(&loaded)?;
                Ok(loaded)
            };
            serve(Box::new(checked))
        }
        Command::CheckConfig { keys, settings } => {
            let loaded = settings.over(outer).loader()()?;
            output::say(&commands::check_config(&loaded, keys)?);
            Ok(())
        }
        Command::Token(token) => {
            let loaded = token.settings.clone().over(outer).loader()()?;
            config::check(&loaded)?;
            output::say(&commands::token(&loaded.config, &token)?);
            Ok(())
        }
        Command::Backup { file, settings } => {
            let loaded = settings.over(outer).loader()()?;
            config::check(&loaded)?;
            output::say(&commands::backup(&loaded.config, &file)?);
            Ok(())
        }
        Command::Restore { file, settings } => {
            let loaded = settings.over(outer).loader()()?;
            output::say(&commands::restore(&loaded.config, &file)?);
            Ok(())
        }
        // The rest must work where the configuration is broken: it takes nothing from it.
        Command::Try if !outer.is_empty() => {
            let error = anyhow::anyhow!("try takes no settings: it has a server of its own");
            Err(Failure::new(Kind::Usage, error))
        }
        Command::Try => try_tour::run(),
        Command::SelfTest => {
            output::say(&commands::self_test()?);
            Ok(())
        }
        Command::Journal(Journal::Inspect { directory }) => {
            let inspection = commands::inspect(&directory)?;
            output::say(&inspection.to_string());
            commands::sound(&inspection)
        }
        Command::JournalProbe { directory } => {
            ringpost_journal::device::probe::probe_child(&directory)
                .map_err(|error| Failure::new(Kind::Storage, error))
        }
    }
}

impl Settings {
    /// These, and in front of them those that stood before the command: what is given later wins.
    fn over(self, outer: Self) -> Self {
        Self {
            config: self.config.or(outer.config),
            set: outer.set.into_iter().chain(self.set).collect(),
            listen: self.listen.or(outer.listen),
            admin_listen: self.admin_listen.or(outer.admin_listen),
            data_dir: self.data_dir.or(outer.data_dir),
            workers: self.workers.or(outer.workers),
            log_format: self.log_format.or(outer.log_format),
            log_level: self.log_level.or(outer.log_level),
        }
    }

    /// What reads the settings of all layers, as often as it is called.
    fn loader(self) -> impl Fn() -> Result<Loaded, config::ConfigError> {
        move || config::load(&self.sources(std::env::vars_os()))
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The layers above the defaults. Variables that are not valid UTF-8 cannot be ours.
    fn sources(
        &self,
        environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Sources {
        let named = [
            ("listen", &self.listen),
            ("admin.listen", &self.admin_listen),
            ("data_dir", &self.data_dir),
            ("workers", &self.workers),
            ("log.format", &self.log_format),
            ("log.level", &self.log_level),
        ];
        let named =
            named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        Sources {
            file: self.config.clone(),
            environment: environment
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            flags: self.set.iter().cloned().chain(named).collect(),
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write KEY=VALUE, for instance limits.message_bytes_max=32KiB".to_owned()),
    }
}

#[cfg(test)]
mod tests;
