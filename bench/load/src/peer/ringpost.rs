//! ringpost itself, as its binary: one worker on its core, its journal on disk for full relays;
//! and the same in settings that tell what one part of it costs.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::child::{self, Child};
use super::{Form, Peer, Promise, Setting};
use crate::dialect::Dialect;
use crate::dialect::ringpost as dialect;
use crate::progress::Progress;

/// Users of one call of `ringpost token`: the system bounds the length of a command line.
const TOKENS_PER_CALL: u32 = 1_000;
/// Of a user at most 16 MiB are read at once, and 2,000 of its durable messages are taken: a sender of
/// so many messages is far below both at the sizes that are measured.
const MESSAGES_PER_SENDER_MAX: u32 = 450;
/// The setting by which it keeps nothing.
const NO_JOURNAL: &str = "journal.device=none";
/// A worker tells its counters every 100 ms: what is asked earlier may lack the end of a run.
const TOLD_WITHIN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);
const COMMON: &[&str] = &[
    "--log-level",
    "warn",
    "--set",
    "limits.connections_max=3000000",
    "--set",
    "limits.ping_interval=1h",
    // All clients come from one address.
    "--set",
    "limits.address_input_bytes_per_second=1TiB",
    "--set",
    "limits.address_input_burst_bytes=1TiB",
    // A receiver that does not read has one sender.
    "--set",
    "limits.queue_sender_share=1",
];

pub(super) struct Ringpost {
    name: &'static str,
    workers: u32,
    child: Option<Child>,
    setting: Setting,
    folder: PathBuf,
    address: SocketAddrV4,
    admin: SocketAddrV4,
    dialect: Rc<dialect::Ringpost>,
}

/// What it would do if durability cost nothing.
pub(super) fn without_journal(setting: &Setting) -> anyhow::Result<Ringpost> {
    let mut setting = setting.clone();
    setting.set.push(NO_JOURNAL.to_owned());
    Ringpost::start("ringpost-no-journal", 1, &setting)
}

impl Ringpost {
    pub(super) fn start(
        name: &'static str,
        workers: u32,
        setting: &Setting,
    ) -> anyhow::Result<Self> {
        ensure!(
            setting.binary.is_file(),
            "{} is not there: build it with `cargo build --release`, or name it by --binary",
            setting.binary.display()
        );
        let seed = u64::from(std::process::id());
        let dialect = dialect::Ringpost::new(setting.form, seed, setting.tickets);
        let mut server = Self {
            name,
            workers,
            child: None,
            folder: child::folder(name)?,
            setting: setting.clone(),
            address: child::free_address()?,
            admin: child::free_address()?,
            dialect: Rc::new(dialect),
        };
        server.spawn()?;
        Ok(server)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.setting.binary);
        command
            .args(["--listen", &self.address.to_string()])
            .args(["--admin-listen", &self.admin.to_string()])
            .arg("--data-dir")
            .arg(data_dir(&self.folder))
            .args(["--workers", &self.workers.to_string()])
            .args(COMMON);
        for set in &self.setting.set {
            command.args(["--set", set]);
        }
        let mut child = Child::start(self.name, &self.folder, self.setting.core, &command)?;
        let admin = self.admin;
        child.until(|| ask(admin, "/readyz").is_ok_and(|text| text.starts_with("HTTP/1.1 200")))?;
        self.child = Some(child);
        Ok(())
    }

    fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = ask(self.admin, "/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.trim().parse().ok())
            .with_context(|| format!("the server has no metric {name}"))
    }
}

impl Peer for Ringpost {
    fn name(&self) -> &str {
        self.name
    }

    fn promise(&self) -> Promise {
        match self.setting.form {
            Form::Plain => Promise::Nothing,
            Form::Full if self.setting.set.iter().any(|set| set == NO_JOURNAL) => Promise::Taken,
            Form::Full => Promise::Kept,
        }
    }

    fn process_id(&self) -> u32 {
        self.child.as_ref().expect("it runs, except inside `restart`").id()
    }

    fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn dialect(&self) -> Rc<dyn Dialect> {
        Rc::<dialect::Ringpost>::clone(&self.dialect)
    }

    fn admit(&mut self, users: std::ops::Range<u32>) -> anyhow::Result<()> {
        let mut progress = Progress::new("tokens", users.len() as u64);
        let mut first = users.start;
        while first < users.end {
            let some = first..users.end.min(first.saturating_add(TOKENS_PER_CALL));
            first = some.end;
            let mut command = Command::new(&self.setting.binary);
            command.args(["token", "--device", &dialect::device().to_string(), "--data-dir"]);
            command.arg(data_dir(&self.folder));
            for user in some.clone() {
                command.args(["--user", &self.dialect.user_id(user).to_string()]);
            }
            let output = command.output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "`ringpost token` failed: {said}");
            let tokens = String::from_utf8(output.stdout)?;
            ensure!(tokens.lines().count() == some.len(), "not a token for each user: {tokens}");
            for (user, token) in some.zip(tokens.lines()) {
                self.dialect.admit(user, token.to_owned());
            }
            progress.at(u64::from(first - users.start));
        }
        Ok(())
    }

    fn enters(&self) -> anyhow::Result<Option<u64>> {
        std::thread::sleep(TOLD_WITHIN);
        Ok(Some(self.metric("ringpost_ring_enters_total")?))
    }

    fn messages_per_sender_max(&self) -> u32 {
        MESSAGES_PER_SENDER_MAX
    }

    fn keeps_users(&self) -> bool {
        true
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        self.child.take().context("it does not run")?.kill_and_keep()?;
        self.spawn()
    }
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The answer of the private port, head and all.
fn ask(admin: SocketAddrV4, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
