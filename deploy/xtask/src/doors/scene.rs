//! What stands while checks run: the server, three proxies in front of it, a certificate, and ports
//! on which a script may serve web pages.
//!
//! Scripts find all of it in their environment:
//!
//! | variable | says |
//! |---|---|
//! | `DOOR_SERVER`, `DOOR_ADMIN` | ports of the server: of clients, and the private one |
//! | `DOOR_NGINX`, `DOOR_NGINX_BYTES` | nginx by its example: HTTPS, and TLS with PROXY version 1 |
//! | `DOOR_HAPROXY`, `DOOR_HAPROXY_BYTES` | HAProxy by its example: the same, with version 2 |
//! | `DOOR_ALWAYS`, `DOOR_ALWAYS_BYTES` | HAProxy with `http-reuse always`, and with version 1 |
//! | `DOOR_CERTIFICATE` | file of the certificate of all proxies, for 127.0.0.1 and localhost |
//! | `DOOR_LOG` | file of the server's log |
//! | `DOOR_DISK` | folder of the server's data |
//! | `DOOR_LISTED`, `DOOR_UNLISTED` | ports for pages, of an origin that is listed and of one that is not |
//! | `DOOR_CLIENT` | folder of the Python client that was written from PROTOCOL.md |
//! | `DOOR_PROMTOOL` | file of promtool, for Python |

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use super::install::Clients;
use super::proxy::{self, Doors, Proxy};
use super::{Program, Setup};
use crate::server::{Server, free_ports};

/// Where the scripts are, in the repository.
pub(super) const SCRIPTS: &str = "deploy/xtask/doors";

/// How long a script may take before it is ended. Generous: what it judges is no time.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);

/// The variant of HAProxy's example that shares connections most, and speaks the older PROXY header.
const ALWAYS: (&str, &[(&str, &str)]) =
    ("always", &[("http-reuse safe", "http-reuse always"), ("send-proxy-v2", "send-proxy")]);

/// Ports beside the two of the server.
const PORTS: usize = 8;

/// The server and what stands in front of it.
pub(super) struct Scene {
    scripts: PathBuf,
    // Proxies end before the server, and the server before its disk.
    proxies: Vec<Proxy>,
    server: Server,
    disk: Option<Disk>,
    environment: Vec<(&'static str, String)>,
}

impl Scene {
    /// Starts all.
    ///
    /// # Errors
    /// When something cannot be started.
    pub(super) fn open(repository: &Path, setup: &Setup) -> anyhow::Result<Self> {
        let mut server = Server::prepare(repository, "doors", setup.workers, &[])?;
        let folder = fs::canonicalize(server.folder())?;
        certify(&folder)?;
        let data = folder.join("data");
        let disk = setup.disk_mebibytes.map(|size| Disk::mount(&data, size)).transpose()?;
        let taken = [server.address().port(), server.admin().port()];
        let ports = free_ports().filter(|port| !taken.contains(port)).take(PORTS);
        let ports: [u16; PORTS] =
            ports.collect::<Vec<_>>().try_into().ok().context("no port is free")?;
        let [nginx, nginx_bytes, haproxy, haproxy_bytes, always, always_bytes, listed, unlisted] =
            ports;
        let fixed = ["trusted_proxies=[\"127.0.0.1\"]".to_owned(), origins(listed)];
        for setting in setup.settings.iter().map(|&text| text.to_owned()).chain(fixed) {
            server.set(setting);
        }
        server.start().with_context(|| format!("server log: {}", server.log().display()))?;
        let address = server.address();
        let door = |web, bytes| Doors { web, bytes };
        let by_example = ("haproxy", [].as_slice());
        let proxies = vec![
            proxy::nginx(repository, &folder, address, door(nginx, nginx_bytes))?,
            proxy::haproxy(repository, &folder, address, door(haproxy, haproxy_bytes), by_example)?,
            proxy::haproxy(repository, &folder, address, door(always, always_bytes), ALWAYS)?,
        ];
        let client = repository.join("core/wire/tests/python");
        let environment = vec![
            ("DOOR_SERVER", address.port().to_string()),
            ("DOOR_ADMIN", server.admin().port().to_string()),
            ("DOOR_NGINX", nginx.to_string()),
            ("DOOR_NGINX_BYTES", nginx_bytes.to_string()),
            ("DOOR_HAPROXY", haproxy.to_string()),
            ("DOOR_HAPROXY_BYTES", haproxy_bytes.to_string()),
            ("DOOR_ALWAYS", always.to_string()),
            ("DOOR_ALWAYS_BYTES", always_bytes.to_string()),
            ("DOOR_CERTIFICATE", folder.join("fullchain.pem").display().to_string()),
            ("DOOR_LOG", server.log().display().to_string()),
            ("DOOR_DISK", data.display().to_string()),
            ("DOOR_LISTED", listed.to_string()),
            ("DOOR_UNLISTED", unlisted.to_string()),
            ("DOOR_CLIENT", client.display().to_string()),
        ];
        Ok(Self { scripts: repository.join(SCRIPTS), proxies, server, disk, environment })
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// When it fails, or does not end in time.
    pub(super) fn run(
        &self,
        program: Program,
        clients: &Clients,
        script: &str,
    ) -> anyhow::Result<()> {
        let mut command: Command = clients.command(program, &self.scripts.join(script));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > SCRIPT_DEADLINE {
                child.kill()?;
                child.wait()?;
                bail!("{script} does not end within {SCRIPT_DEADLINE:?}");
            }
            thread::sleep(POLL);
        };
        ensure!(status.success(), "{script} ended with {status}");
        Ok(())
    }

    /// Where server and proxies leave their logs.
    pub(super) fn logs(&self) -> &Path {
        self.server.folder()
    }

    /// Ends all after a good run, and removes what was written.
    ///
    /// # Errors
    /// When something had ended by itself.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        for proxy in self.proxies.drain(..) {
            proxy.end()?;
        }
        self.server.kill()?;
        drop(self.disk);
        self.server.remove()
    }
}

/// A file system in memory, seen by this task and what it starts alone.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts one of this many megabytes at `at`.
    ///
    /// # Errors
    /// Where this process may not.
    fn mount(at: &Path, mebibytes: u32) -> anyhow::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS).context("a disk of its own needs the rights of root")?;
        fs::create_dir(at)?;
        let size = format!("size={mebibytes}m,mode=700");
        mount(&["--make-rprivate".as_ref(), "/".as_ref()])?;
        let words = ["-t", "tmpfs", "-o", &size, "none"].map(OsStr::new);
        mount(&[&words[..], &[at.as_os_str()]].concat())?;
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be undone ends with the process, which alone sees it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn mount(words: &[&OsStr]) -> anyhow::Result<()> {
    let status = Command::new("mount").args(words).status().context("cannot run mount")?;
    ensure!(status.success(), "mount {words:?} ended with {status}");
    Ok(())
}

fn origins(listed: u16) -> String {
    format!("limits.origins=[\"http://127.0.0.1:{listed}\"]")
}

/// Makes a certificate, under the names that the examples have for it.
fn certify(folder: &Path) -> anyhow::Result<()> {
    let (key, certificate) = (folder.join("privkey.pem"), folder.join("fullchain.pem"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("cannot start openssl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl makes no certificate: {said}");
    let both = [fs::read(&certificate)?, fs::read(&key)?].concat();
    Ok(fs::write(folder.join("site.pem"), both)?)
}
