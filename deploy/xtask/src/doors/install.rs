//! What the checks need beside the server: programs of Debian, and libraries of PyPI and npm.
//!
//! The libraries have pinned versions (`requirements.txt`, `package-lock.json`) and live below
//! `target`; so does promtool, alone out of its package. What is there already is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Program;
use super::scene::SCRIPTS;
use crate::tools::{self, Sign, Wanted};

/// Programs of Debian. The browser is Chromium without its window: the same engine, network and
/// rules of origins, with a third of the packages.
pub(crate) const PROGRAMS: &[Wanted] = &[
    Wanted { sign: Sign::Answers("nginx", &["-v"]), package: "nginx-light" },
    Wanted { sign: Sign::File(super::proxy::NGINX_STREAM), package: "libnginx-mod-stream" },
    Wanted { sign: Sign::Answers("haproxy", &["-v"]), package: "haproxy" },
    Wanted { sign: Sign::Answers("openssl", &["version"]), package: "openssl" },
    Wanted { sign: Sign::Answers("curl", &["--version"]), package: "curl" },
    Wanted { sign: Sign::Answers("python3", &["-c", "import ensurepip"]), package: "python3-venv" },
    Wanted { sign: Sign::Answers("node", &["--version"]), package: "nodejs" },
    Wanted { sign: Sign::Answers("npm", &["--version"]), package: "npm" },
    Wanted { sign: Sign::Answers(CHROMIUM, &["--version"]), package: CHROMIUM },
];

/// Program and package have one name.
const CHROMIUM: &str = "chromium-headless-shell";

/// What promtool is in: a package that, installed, would start a Prometheus on this machine, with
/// a dozen packages for its pages.
const PROMTOOL_PACKAGE: &str = "prometheus";
const PROMTOOL: &str = "usr/bin/promtool";

/// Below the repository.
const FOLDER: &str = "target/doors-clients";

/// What scripts are run with.
pub(crate) struct Clients {
    folder: PathBuf,
    promtool: PathBuf,
}

impl Clients {
    /// A command that runs `script` of the repository.
    pub(super) fn command(&self, program: Program, script: &Path) -> Command {
        match program {
            Program::Python => {
                let mut command = Command::new(self.folder.join("venv/bin/python"));
                // No `__pycache__` beside the sources.
                command.arg("-B").arg(script).env("DOOR_PROMTOOL", &self.promtool);
                command
            }
            Program::Node => {
                let mut command = Command::new("node");
                // A module is looked for beside the script that asks; `createRequire` of this does.
                command.arg(script).env("DOOR_MODULES", self.folder.join("node/"));
                command
            }
        }
    }
}

/// Installs what is missing.
///
/// # Errors
/// When something cannot be had; the text says what and by which command.
pub(crate) fn clients(repository: &Path) -> anyhow::Result<Clients> {
    tools::install_missing(repository, PROGRAMS)?;
    let folder = repository.join(FOLDER);
    let scripts = repository.join(SCRIPTS);
    once(&folder.join("venv"), &scripts.join("requirements.txt"), |venv, list| {
        call(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        // Wheels only: nothing is compiled here.
        call(pip.args(["--only-binary", ":all:", "--no-deps", "--requirement"]).arg(list))
    })?;
    once(&folder.join("node"), &scripts.join("package-lock.json"), |node, lock| {
        fs::create_dir_all(node)?;
        fs::copy(lock, node.join("package-lock.json"))?;
        fs::copy(scripts.join("package.json"), node.join("package.json"))?;
        let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        call(Command::new("npm").args(words).current_dir(node))
    })?;
    let promtool = promtool(&folder)?;
    Ok(Clients { folder, promtool })
}

/// The one of this machine, or else out of Debian's package: only this file of it.
fn promtool(folder: &Path) -> anyhow::Result<PathBuf> {
    let installed = Path::new("/").join(PROMTOOL);
    let own = folder.join("promtool");
    let program = own.join(PROMTOOL);
    if installed.is_file() {
        return Ok(installed);
    }
    if program.is_file() {
        return Ok(program);
    }
    println!("unpacking promtool of the package {PROMTOOL_PACKAGE}");
    // What an earlier run left half done is begun anew.
    if own.exists() {
        fs::remove_dir_all(&own)?;
    }
    fs::create_dir_all(&own)?;
    call(Command::new("apt-get").args(["update", "--quiet"]))?;
    let words = ["--quiet", "--option", "APT::Sandbox::User=root", "download", PROMTOOL_PACKAGE];
    call(Command::new("apt-get").args(words).current_dir(&own))?;
    let package = fs::read_dir(&own)?.next().context("apt-get has downloaded nothing")??.path();
    let mut files = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let archive = files.stdout.take().expect("it was asked for");
    let member = format!("./{PROMTOOL}");
    call(Command::new("tar").args(["--extract", &member]).current_dir(&own).stdin(archive))?;
    // tar reads an archive to its end, so that this one ends in order.
    let status = files.wait()?;
    ensure!(status.success(), "dpkg-deb ended with {status}");
    fs::remove_file(package)?;
    Ok(program)
}

/// Makes `folder` by `make`, unless it was made from the same list before.
fn once(
    folder: &Path,
    list: &Path,
    make: impl FnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mark = folder.join("made-from");
    let wanted = fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    if fs::read(&mark).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    println!("installing what {} names", list.display());
    make(folder, list)?;
    Ok(fs::write(mark, wanted)?)
}

fn call(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
