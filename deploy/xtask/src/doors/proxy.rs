//! The proxies in front: the shipped examples, on loopback and on ports of their own.
//!
//! An example is changed only where it must be to stand beside others on one machine: addresses,
//! certificate, where files of the process lie, and for how many clients it takes descriptors. Each
//! change must find its place, so an example that has moved on is seen here.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How Debian ships nginx's proxy of TCP: a file that `modules-enabled`, which the example includes, names.
pub(crate) const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Where the examples expect certificates, and the server.
const TLS: &str = "/etc/ringpost/tls";
const SERVER: &str = "127.0.0.1:7400";

/// How long a proxy may take until it listens, and until it is gone.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Where a proxy listens.
#[derive(Clone, Copy)]
pub(super) struct Doors {
    /// HTTPS: REST and WebSocket.
    pub(super) web: u16,
    /// TLS over which bytes are passed on behind a PROXY header.
    pub(super) bytes: u16,
}

/// A proxy that runs.
pub(super) struct Proxy {
    name: &'static str,
    process: Child,
}

/// A text and the changes to make in it; each must find its place.
struct Changed(String);

impl Changed {
    fn with(self, from: &str, to: &str) -> anyhow::Result<Self> {
        ensure!(self.0.contains(from), "the example has no `{from}` any more");
        Ok(Self(self.0.replace(from, to)))
    }
}

/// nginx by its example, from a folder that has the certificate.
///
/// # Errors
/// When it does not take its configuration without a warning, or does not listen.
pub(super) fn nginx(
    repository: &Path,
    folder: &Path,
    server: SocketAddr,
    doors: Doors,
) -> anyhow::Result<Proxy> {
    let place = folder.display();
    let own = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {place}/{name};"))
        .join(" ");
    let text = example(repository, "nginx.conf")?
        .with(TLS, &place.to_string())?
        .with(SERVER, &server.to_string())?
        .with("/run/nginx.pid", &format!("{place}/nginx.pid"))?
        .with("worker_rlimit_nofile 65536", "worker_rlimit_nofile 4096")?
        .with("worker_connections 32768", "worker_connections 2048")?
        .with("http {", &format!("http {{ {own}"))?
        .with("listen 443 ssl", &format!("listen 127.0.0.1:{} ssl", doors.web))?
        .with("listen 7443 ssl", &format!("listen 127.0.0.1:{} ssl", doors.bytes))?;
    let path = folder.join("nginx.conf");
    fs::write(&path, text.0)?;
    let command = |word: &[&str]| {
        let mut command = Command::new("nginx");
        command.args(word).arg("-c").arg(&path).arg("-e").arg(folder.join("nginx.log"));
        command
    };
    is_taken(&mut command(&["-t", "-q"]))?;
    Proxy::start("nginx", folder, command(&["-g", "daemon off;"]), doors)
}

/// HAProxy by its example; with `changes`, by a variant of it.
///
/// # Errors
/// As [`nginx`].
pub(super) fn haproxy(
    repository: &Path,
    folder: &Path,
    server: SocketAddr,
    doors: Doors,
    (name, changes): (&'static str, &[(&str, &str)]),
) -> anyhow::Result<Proxy> {
    let mut text = example(repository, "haproxy.cfg")?
        .with(TLS, &folder.display().to_string())?
        .with(SERVER, &server.to_string())?
        .with("maxconn 50000", "maxconn 2000")?
        .with("maxconn 45000", "maxconn 1900")?
        .with("bind :443 ", &format!("bind 127.0.0.1:{} ", doors.web))?
        .with("bind :7443 ", &format!("bind 127.0.0.1:{} ", doors.bytes))?;
    for (from, to) in changes {
        text = text.with(from, to)?;
    }
    let path = folder.join(format!("{name}.cfg"));
    fs::write(&path, text.0)?;
    is_taken(Command::new("haproxy").args(["-c", "-f"]).arg(&path))?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    Proxy::start(name, folder, command, doors)
}

fn example(repository: &Path, name: &str) -> anyhow::Result<Changed> {
    let path: PathBuf = repository.join("deploy/proxy").join(name);
    fs::read_to_string(&path)
        .map(Changed)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// Fails where the proxy refuses its configuration or warns of it.
fn is_taken(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let warns = said.contains("[WARNING]") || said.contains("[warn]");
    ensure!(output.status.success() && !warns, "{command:?}: {}\n{said}", output.status);
    Ok(())
}

impl Proxy {
    fn start(
        name: &'static str,
        folder: &Path,
        mut command: Command,
        doors: Doors,
    ) -> anyhow::Result<Self> {
        let log = File::create(folder.join(format!("{name}.out")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut proxy = Self { name, process };
        let begun = Instant::now();
        while ![doors.web, doors.bytes].into_iter().all(listens) {
            if let Some(status) = proxy.process.try_wait()? {
                bail!("{name} ended by itself: {status}; its logs: {}", folder.display());
            }
            ensure!(begun.elapsed() < DEADLINE, "{name} does not listen within {DEADLINE:?}");
            thread::sleep(POLL);
        }
        Ok(proxy)
    }

    /// Ends the proxy.
    ///
    /// # Errors
    /// When it had ended by itself, or does not end.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        let status = self.process.try_wait()?;
        ensure!(status.is_none(), "{} ended by itself: {status:?}", self.name);
        ensure!(self.terminate(), "{} does not end", self.name);
        Ok(())
    }

    /// Asks the process to end, for it has children that end with it alone. Whether it did.
    fn terminate(&mut self) -> bool {
        // A number of the system that fits is what `id` was made from.
        let Ok(id) = i32::try_from(self.process.id()) else { return false };
        if self.process.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        let told = kill(Pid::from_raw(id), Signal::SIGTERM).is_ok();
        let begun = Instant::now();
        while told && begun.elapsed() < DEADLINE {
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                return true;
            }
            thread::sleep(POLL);
        }
        false
    }
}

/// However a check ends, no process stays behind.
impl Drop for Proxy {
    fn drop(&mut self) {
        if !self.terminate() {
            // An error means that it has ended already, which is what is wanted.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::Changed;

    #[test]
    fn a_change_that_finds_no_place_is_an_error() {
        let text = Changed("listen 443 ssl;".to_owned());
        let text = text.with("443", "17443").unwrap();
        assert_eq!(text.0, "listen 17443 ssl;");
        assert!(text.with("7443 ssl;\n", "").is_err());
    }
}
