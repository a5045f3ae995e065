//! The layers of the configuration: defaults, one TOML file, environment, flags; the later wins.
//!
//! Owns how the layers are read, named and merged, and that every mistake is found in one go:
//! each value is tried alone on top of the (valid) defaults, so that a message can name the key,
//! its layer, what was found and what is allowed. Does not own what combinations make sense
//! ([`super::check`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ringpost_files::Rule;
use serde::Deserialize;
use toml::{Table, Value};

use super::problem::{ConfigError, Mistake, Problem};
use super::sections::Config;

/// Prefix of environment variables; sections are parted by two underscores, as in
/// `RINGPOST_LIMITS__MESSAGE_BYTES_MAX`.
pub const ENV_PREFIX: &str = "RINGPOST_";

/// The variable that names the file, as `--config` does.
pub const ENV_FILE: &str = "RINGPOST_CONFIG";

/// What a Kubernetes service called `ringpost` injects into every pod of its namespace; not ours.
const ENV_FOREIGN: [&str; 2] = ["RINGPOST_SERVICE_", "RINGPOST_PORT"];

/// Largest file of settings, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most edits between a mistyped key and the key that is suggested for it.
const SUGGESTION_EDITS_MAX: usize = 3;

/// Where values come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; else `RINGPOST_CONFIG`; else no file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// Dotted key and text, as flags give them.
    pub flags: Vec<(String, String)>,
}

/// The layer that a value stands in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One value of one layer.
struct Setting {
    key: String,
    value: Value,
    origin: Origin,
}

/// The merged configuration and where each value that was set came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The merged values.
    pub config: Config,
    /// Dotted key to layer, for every key that is not at its default layer.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads and merges all layers. The result is well formed; whether it makes sense is
/// [`super::check`]'s question.
///
/// # Errors
/// If the file cannot be read or is not TOML, or with *every* unknown key and bad value.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let defaults = default_table();
    let known = leaves(&defaults);
    let mut problems = Vec::new();
    let mut settings = Vec::new();

    if let Some(path) = file_of(sources) {
        let table = read_file(&path)?;
        let origin = Origin::File(path);
        let named = leaves(&table).into_iter().filter(|(key, value)| {
            // `[limits]` with nothing in it is no setting.
            let is_section = defaults.get(key).is_some_and(Value::is_table);
            !(is_section && value.as_table().is_some_and(Table::is_empty))
        });
        settings.extend(named.map(|(key, value)| Setting { key, value, origin: origin.clone() }));
    }
    for (name, text) in &sources.environment {
        if let Some(key) = env_key(name) {
            let value = typed(known.get(&key), text);
            settings.push(Setting { key, value, origin: Origin::Environment(name.clone()) });
        }
    }
    for (key, text) in &sources.flags {
        let value = typed(known.get(key), text);
        settings.push(Setting { key: key.clone(), value, origin: Origin::Flag });
    }

    let mut merged = defaults.clone();
    let mut origins = BTreeMap::new();
    for setting in settings {
        match try_alone(&defaults, &known, &setting) {
            Ok(()) => {
                put(&mut merged, &setting.key, setting.value);
                origins.insert(setting.key, setting.origin);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    let config = Config::deserialize(Value::Table(merged))
        .expect("every value was taken alone on top of the defaults, and keys are independent");
    Ok(Loaded { config, origins })
}

/// The dotted names of all keys, sorted.
pub fn keys() -> Vec<String> {
    leaves(&default_table()).into_keys().collect()
}

/// Every dotted key with its value as TOML writes it, sorted.
pub fn values(config: &Config) -> Vec<(String, String)> {
    let table = Table::try_from(config).expect("a configuration is plain values");
    leaves(&table).into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// The environment variable of a dotted key.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn default_table() -> Table {
    Table::try_from(Config::default()).expect("the defaults are plain values that TOML can hold")
}

fn file_of(sources: &Sources) -> Option<PathBuf> {
    sources.file.clone().or_else(|| {
        let (_, path) = sources.environment.iter().find(|(name, _)| name == ENV_FILE)?;
        Some(PathBuf::from(path))
    })
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text =
        ringpost_files::read_text(path, FILE_BYTES_MAX, Rule::Named).map_err(ConfigError::File)?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// The dotted key of a variable, `None` for variables that are not configuration.
fn env_key(name: &str) -> Option<String> {
    if name == ENV_FILE || ENV_FOREIGN.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let key = name.strip_prefix(ENV_PREFIX)?;
    Some(key.to_lowercase().replace("__", "."))
}

/// Text as the kind of value that the key's default is, written as TOML (as `check-config` shows
/// it) or without its quotes and brackets; what does not fit stays text and is refused with a message
/// when it is tried.
fn typed(default: Option<&Value>, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    if let (Some(default @ (Value::Array(_) | Value::String(_))), Some(value)) =
        (default, as_toml(text))
        && default.same_type(&value)
    {
        return value;
    }
    match default {
        Some(Value::Integer(_)) => text.parse().map_or_else(|_| as_text(), Value::Integer),
        Some(Value::Boolean(_)) => text.parse().map_or_else(|_| as_text(), Value::Boolean),
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        _ => as_text(),
    }
}

/// The value that this text is in TOML. No text of a key in TOML begins with a quote or a bracket
/// otherwise, so nothing that is meant as it stands is taken apart.
fn as_toml(text: &str) -> Option<Value> {
    if !text.starts_with(['"', '\'', '[']) {
        return None;
    }
    let mut table: Table = format!("value = {text}").parse().ok()?;
    table.remove("value").filter(|_| table.is_empty())
}

/// Every value that is not a table, by its dotted key. An empty table counts as a value, so that
/// an unknown empty section is not passed over.
fn leaves(table: &Table) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(String, &Table)> = vec![(String::new(), table)];
    while let Some((prefix, table)) = open.pop() {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(inner) if !inner.is_empty() => open.push((key, inner)),
                value => {
                    found.insert(key, value.clone());
                }
            }
        }
    }
    found
}

fn try_alone(
    defaults: &Table,
    known: &BTreeMap<String, Value>,
    setting: &Setting,
) -> Result<(), Problem> {
    let problem = |mistake: Mistake| Problem {
        key: setting.key.clone(),
        origin: setting.origin.clone(),
        mistake,
    };
    if !known.contains_key(&setting.key) {
        let hint = hint(known, &setting.key, &setting.origin);
        return Err(problem(Mistake::NoSuchKey { hint }));
    }
    let mut table = defaults.clone();
    put(&mut table, &setting.key, setting.value.clone());
    match Config::deserialize(Value::Table(table)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = error.message();
            let allowed = message.split_once(", expected ").map_or(message, |(_, after)| after);
            let (found, allowed) = (setting.value.to_string(), plain_words(allowed).to_owned());
            Err(problem(Mistake::Value { found, allowed }))
        }
    }
}

/// What serde calls a type, as an operator calls it.
fn plain_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number up to 255",
        "u16" => "a whole number up to 65535",
        "u32" => "a whole number up to 4294967295",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other => other,
    }
}

/// What to write in the place of an unknown key, as its layer writes keys.
fn hint(known: &BTreeMap<String, Value>, key: &str, origin: &Origin) -> String {
    let written = |key: &str| match origin {
        Origin::Environment(_) => env_name(key),
        Origin::Default | Origin::File(_) | Origin::Flag => key.to_owned(),
    };
    let nearest = known
        .keys()
        .map(|candidate| (edits(candidate, key), candidate))
        .min()
        .filter(|(edits, _)| *edits <= SUGGESTION_EDITS_MAX);
    if let Some((_, candidate)) = nearest {
        return format!("did you mean `{}`?", written(candidate));
    }
    let section = key.rsplit_once('.').map_or("", |(section, _)| section);
    let siblings: Vec<String> = known
        .keys()
        .filter(|known| known.rsplit_once('.').map_or("", |(section, _)| section) == section)
        .map(|sibling| written(sibling))
        .collect();
    if siblings.is_empty() {
        return "`ringpost check-config --keys` lists all".to_owned();
    }
    format!("here stand {}", siblings.join(", "))
}

/// Number of single-character edits that make `a` into `b` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Sets a dotted key in nested tables; a value that stands where a section must be is replaced.
fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
