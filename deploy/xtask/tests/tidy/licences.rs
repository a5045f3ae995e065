//! `deny.toml` holds without cargo-deny: licences, banned crates, second versions.
//!
//! cargo-deny takes minutes to build, so the gate reads its policy from `deny.toml` and judges the
//! graph that `cargo tree` gives. Who has cargo-deny gets the same answers, and the advisories.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use toml::{Table, Value};

use crate::fault::{Fault, refuse};
use crate::{repository, spdx};

/// The part of `deny.toml` that is judged here.
#[derive(Debug, Default)]
struct Policy {
    /// Licences that any crate may have.
    licences: Vec<String>,
    /// Licences that one crate may have besides.
    exceptions: BTreeMap<String, Vec<String>>,
    /// Crates that may not be in the graph.
    banned: Vec<String>,
    /// Versions that may stand beside the newest, as `name@version`.
    second_versions: Vec<String>,
}

/// One crate of the graph.
struct Package {
    name: String,
    version: String,
    licence: String,
}

impl Policy {
    /// # Panics
    /// When the policy does not have the shape that is expected of it.
    fn parse(text: &str) -> Self {
        let table = text.parse::<Table>().expect("deny.toml is TOML");
        let exceptions = list(&table["licenses"], "exceptions");
        Self {
            licences: strings(&table["licenses"], "allow"),
            exceptions: exceptions.map(|each| (crate_of(each), strings(each, "allow"))).collect(),
            banned: list(&table["bans"], "deny").map(crate_of).collect(),
            second_versions: list(&table["bans"], "skip").map(crate_of).collect(),
        }
    }

    fn check(&self, packages: &[Package]) -> Vec<Fault> {
        let licences = packages.iter().filter_map(|package| self.licence_fault(package));
        let banned = packages.iter().filter(|package| self.banned.contains(&package.name));
        let banned = banned.map(|package| format!("{} is banned", package.name));
        let messages = licences.chain(banned).chain(self.version_faults(packages));
        messages.map(|message| Fault::new("deny.toml", 0, message)).collect()
    }

    fn licence_fault(&self, package: &Package) -> Option<String> {
        let Package { name, licence, .. } = package;
        let mut allowed = self.licences.clone();
        allowed.extend(self.exceptions.get(name).into_iter().flatten().cloned());
        match spdx::is_allowed(licence, &allowed) {
            Ok(true) => None,
            Ok(false) => Some(format!("{name} is under {licence}, which is not allowed")),
            Err(fault) => Some(format!("{name}: {fault}")),
        }
    }

    /// Every name stands in one version, but for those that are skipped; no skip is idle.
    fn version_faults(&self, packages: &[Package]) -> Vec<String> {
        let mut counts = BTreeMap::<&str, Vec<&str>>::new();
        let key = |package: &Package| format!("{}@{}", package.name, package.version);
        for package in packages.iter().filter(|each| !self.second_versions.contains(&key(each))) {
            counts.entry(&package.name).or_default().push(&package.version);
        }
        let several = counts.iter().filter(|(_, versions)| versions.len() > 1);
        let several = several.map(|(name, versions)| {
            format!(
                "{name} is there as {}: agree on one, or skip with a reason",
                versions.join(", ")
            )
        });
        let is_idle = |skip: &&String| {
            let name = skip.split('@').next().unwrap_or_default();
            !packages.iter().any(|each| key(each) == **skip) || !counts.contains_key(name)
        };
        let idle = self.second_versions.iter().filter(is_idle);
        several.chain(idle.map(|skip| format!("the skip of {skip} is idle"))).collect()
    }
}

fn list<'a>(table: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    table.get(key).and_then(Value::as_array).expect("deny.toml has this list").iter()
}

fn strings(table: &Value, key: &str) -> Vec<String> {
    list(table, key).map(|each| each.as_str().expect("a list of strings").to_owned()).collect()
}

fn crate_of(entry: &Value) -> String {
    entry["crate"].as_str().expect("entries are written { crate = \"..\", .. }").to_owned()
}

/// The crates that are built for the workspace on Linux, ours left out.
///
/// `cargo tree` knows which optional dependencies are on; `cargo metadata` lists some that are not.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--workspace", "--edges", "normal,build,dev"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(repository::root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names and licences are UTF-8");
    let lines = text.lines().collect::<BTreeSet<_>>();
    lines.into_iter().filter_map(parse).collect()
}

/// `name v1.2.3|licence`; a crate of ours has its folder behind the version.
fn parse(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('|')?;
    let (name, version) = package.split_once(" v")?;
    let version = version.trim_end_matches(" (proc-macro)");
    let is_ours = version.contains('(');
    (!is_ours).then(|| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
    })
}

#[test]
fn the_graph_of_dependencies_is_as_the_policy_wants_it() {
    let packages = packages();
    assert!(packages.len() > 50, "only {} crates were judged", packages.len());
    refuse(Policy::parse(repository::text("deny.toml")).check(&packages));
}

fn sample(packages: &[(&str, &str, &str)]) -> Vec<String> {
    let policy = Policy::parse(
        "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"bitmaps\", allow = [\"MPL-2.0\"] }]\n\
         [bans]\ndeny = [{ crate = \"openssl\" }]\nskip = [{ crate = \"nix@0.27.1\" }]\n",
    );
    let owned = |(name, version, licence): &(&str, &str, &str)| Package {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        licence: (*licence).to_owned(),
    };
    let mut whole = vec![("nix", "0.27.1", "MIT"), ("nix", "0.31.3", "MIT")];
    whole.extend(packages);
    let packages = whole.iter().map(owned).collect::<Vec<_>>();
    policy.check(&packages).into_iter().map(|fault| fault.message).collect()
}

#[test]
fn lines_of_the_graph_are_read() {
    let read =
        |line| parse(line).map(|each| format!("{} {} {}", each.name, each.version, each.licence));
    assert_eq!(read("bytes v1.12.2|MIT").as_deref(), Some("bytes 1.12.2 MIT"));
    assert_eq!(
        read("syn v3.0.10 (proc-macro)|MIT OR Apache-2.0").as_deref(),
        Some("syn 3.0.10 MIT OR Apache-2.0")
    );
    assert_eq!(read("ringpost-wire v0.1.0 (/src/core/wire)|MIT"), None);
    assert_eq!(read(""), None);
}

#[test]
fn what_the_policy_does_not_allow_is_caught() {
    let none: [&str; 0] = [];
    assert_eq!(sample(&[("bytes", "1.0.0", "MIT"), ("bitmaps", "2.1.0", "MPL-2.0")]), none);
    assert_eq!(
        sample(&[("bytes", "1.0.0", "MPL-2.0")]),
        ["bytes is under MPL-2.0, which is not allowed"]
    );
    assert_eq!(sample(&[("openssl", "1.0.0", "MIT")]), ["openssl is banned"]);
    assert_eq!(
        sample(&[("bytes", "1.0.0", "MIT"), ("bytes", "2.0.0", "MIT")]),
        ["bytes is there as 1.0.0, 2.0.0: agree on one, or skip with a reason"]
    );
}

#[test]
fn a_skip_that_nothing_needs_is_caught() {
    let policy = Policy { second_versions: vec!["nix@0.27.1".to_owned()], ..Policy::default() };
    let nix = |version: &str| Package {
        name: "nix".to_owned(),
        version: version.to_owned(),
        licence: "MIT".to_owned(),
    };
    let none: [&str; 0] = [];
    assert_eq!(policy.version_faults(&[nix("0.31.3"), nix("0.27.1")]), none);
    assert_eq!(policy.version_faults(&[nix("0.31.3")]), ["the skip of nix@0.27.1 is idle"]);
    assert_eq!(policy.version_faults(&[nix("0.27.1")]), ["the skip of nix@0.27.1 is idle"]);
}
