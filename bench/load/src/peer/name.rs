//! Which server: one that is known here by its name, or somebody's own as `NAME=COMMAND`.

use std::fmt;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};

use super::foreign::Foreign;
use super::{KNOWN, Promise, Setting, keeps_nothing};
use crate::dialect::centrifuge::Centrifuge;
use crate::dialect::mqtt::Mqtt;
use crate::dialect::nats::Nats;
use crate::dialect::raw::Raw;
use crate::dialect::relay::Relay;

/// A server by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// One of [`KNOWN`].
    Known(&'static str),
    /// One that is not in this repository.
    Own(Own),
}

/// A command that serves one of the protocols which the generator speaks, and keeps nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    name: String,
    protocol: Protocol,
    words: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Relay,
    Raw,
    Nats,
    Mqtt,
    Centrifuge,
}

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("relay", Protocol::Relay),
    ("raw", Protocol::Raw),
    ("nats", Protocol::Nats),
    ("mqtt", Protocol::Mqtt),
    ("centrifuge", Protocol::Centrifuge),
];

/// For `--help`.
pub(crate) const HELP: &str = "The server: a name, or NAME=COMMAND, or NAME:PROTOCOL=COMMAND

Known: floor, ringpost, uwebsockets, tungstenite, centrifuge, nats, mosquitto, ejabberd;
ringpost-no-journal (its journal off) and ringpost-two-workers (on the one core).
A COMMAND of yours is split at spaces; {address}, {port} and {folder} in it are replaced.
It must stay in the foreground and listen there. PROTOCOL is one of
  relay       our relay over WebSocket, as bench/load/src/dialect/relay.rs says (the default)
  raw         the floor's frames
  nats, mqtt, centrifuge
Example: --peer 'uws-cpp=/opt/uws-relay {port}'";

impl Name {
    /// The limit that every table shows.
    pub(crate) const FLOOR: Self = Self::Known("floor");
    /// The subject.
    pub(crate) const RINGPOST: Self = Self::Known("ringpost");
    /// The same with its journal off.
    pub(crate) const RINGPOST_NO_JOURNAL: Self = Self::Known("ringpost-no-journal");
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Known(name) => name,
            Self::Own(own) => &own.name,
        })
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((name, command)) = text.split_once('=') else {
            let known = KNOWN.iter().find(|(name, _)| *name == text);
            let all = KNOWN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let missing = || format!("no peer is named {text}; there are {all}, and NAME=COMMAND");
            return Ok(Self::Known(known.with_context(missing)?.0));
        };
        let (name, protocol) = name.split_once(':').unwrap_or((name, "relay"));
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        ensure!(!name.is_empty() && name.chars().all(fits), "a peer's name has letters, digits, -");
        ensure!(
            KNOWN.iter().all(|(known, _)| *known != name),
            "{name} is the name of a known peer"
        );
        let Some((_, protocol)) = PROTOCOLS.iter().find(|(known, _)| *known == protocol) else {
            let all = PROTOCOLS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            bail!("no protocol is named {protocol}; there are {all}");
        };
        let words = command.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        ensure!(!words.is_empty(), "there is no command behind {name}=");
        Ok(Self::Own(Own { name: name.to_owned(), protocol: *protocol, words }))
    }
}

impl Own {
    pub(super) fn start(&self, setting: &Setting) -> anyhow::Result<Foreign> {
        keeps_nothing(&self.name, setting)?;
        match self.protocol {
            Protocol::Relay => self.speaking(Relay, setting),
            Protocol::Raw => self.speaking(Raw, setting),
            Protocol::Nats => {
                self.speaking(Nats { stored: false, to_all: setting.to_all }, setting)
            }
            Protocol::Mqtt => self.speaking(Mqtt::new(false, setting.to_all), setting),
            Protocol::Centrifuge => self.speaking(Centrifuge::default(), setting),
        }
    }

    fn speaking(
        &self,
        dialect: impl crate::dialect::Dialect + 'static,
        setting: &Setting,
    ) -> anyhow::Result<Foreign> {
        Foreign::start(&self.name, Promise::Nothing, dialect, setting.core, |address, folder| {
            let mut words = self.words.iter().map(|word| {
                word.replace("{address}", &address.to_string())
                    .replace("{port}", &address.port().to_string())
                    .replace("{folder}", &folder.display().to_string())
            });
            let mut command = Command::new(words.next().context("a command has a program")?);
            command.args(words);
            Ok(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{HELP, KNOWN, Name, PROTOCOLS, Protocol};

    #[test]
    fn a_name_is_known_or_has_a_command_and_anything_else_is_told_what_there_is() {
        let parse = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        assert_eq!(parse("floor"), Ok(Name::FLOOR));
        let Ok(Name::Own(own)) = parse("mine:nats=/bin/it -l {address} -x a=b") else {
            panic!("a command is taken");
        };
        assert_eq!((own.name.as_str(), own.protocol), ("mine", Protocol::Nats));
        assert_eq!(own.words, ["/bin/it", "-l", "{address}", "-x", "a=b"]);
        let check = |text: &str, word: &str| {
            let said = parse(text).expect_err(text);
            assert!(said.contains(word), "{text}: {said}");
        };
        check("flor", "mosquitto");
        check("floor=/bin/it", "known peer");
        check("mine:smtp=/bin/it", "centrifuge");
        check("mine=", "no command");
        check("../mine=it", "letters");
    }

    #[test]
    fn the_help_names_all_there_is() {
        let names = KNOWN.iter().map(|(name, _)| name);
        for name in names.chain(PROTOCOLS.iter().map(|(name, _)| name)) {
            assert!(HELP.contains(name), "{name}");
        }
    }
}
