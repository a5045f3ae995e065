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
use super::{Form, Held, Peer, Promise, Setting};
use crate::dialect::Dialect;
use crate::dialect::ringpost as dialect;
use crate::progress::Progress;

/// Users of one call of `ringpost token`: the system bounds the length of a command line.
const TOKENS_PER_CALL: u32 = 1_000;
/// Of a user at most 16 MiB are read at once, and 2,000 of its durable messages are taken: a sender of
/// so many messages is far below both at the sizes that are measured.
const MESSAGES_PER_SENDER_MAX: u32 = 450;
/// A session ends with its token: a day is longer than any run.
const TOKEN_LIFE_S: &str = "86400";
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
    "limits.ping_interval_tcp=1h",
    "--set",
    "limits.ping_interval_websocket=1h",
    // Who comes back late in a run comes with the ticket of its beginning.
    "--set",
    "auth.ticket_ttl=24h",
    // All clients come from one address.
    "--set",
    "limits.address_input_bytes_per_second=1024GiB",
    "--set",
    "limits.address_input_burst_bytes=1024GiB",
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
            command.args(["token", "--device", &dialect::device().to_string()]);
            command.args(["--ttl", TOKEN_LIFE_S, "--data-dir"]);
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

    fn held(&self) -> anyhow::Result<Option<Held>> {
        let text = ask(self.admin, "/metrics")?;
        let memory_max_bytes = sum_of(&text, "ringpost_process_memory_max_bytes");
        ensure!(memory_max_bytes > 0, "the server does not say how much memory it may take");
        let disk_bytes = sum_of(&text, "ringpost_journal_disk_bytes")
            + sum_of(&text, "ringpost_store_disk_bytes");
        Ok(Some(Held { memory_max_bytes, disk_bytes }))
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

/// All values of a metric, whatever their labels.
fn sum_of(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let (labelled, value) = line.rsplit_once(' ')?;
        let labels = labelled.strip_prefix(name)?;
        (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<u64>().ok())?
    });
    values.sum()
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

#[cfg(test)]
mod tests {
    use super::sum_of;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_told_from_longer_names() {
        let text = "# HELP a_b B.\na_b{part=\"x y\"} 3\na_b{part=\"z\"} 4\na_b_c 100\nd 5\n";
        assert_eq!((sum_of(text, "a_b"), sum_of(text, "d"), sum_of(text, "e")), (7, 5, 0));
    }
}
