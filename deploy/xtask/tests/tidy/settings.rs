//! The default configuration documents itself: a comment stands above every key.
//!
//! That its values are the defaults of the code is tested in the server's crate, which has them.

use crate::fault::{Fault, bites, refuse};
use crate::repository::{self, Text};

/// Where configuration files for operators live.
const FOLDER: &str = "deploy/config/";

fn check(file: &Text) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut above = "";
    for (line, text) in (1..).zip(file.text.lines().map(str::trim)) {
        let key = text.split_once('=').map(|(key, _)| key.trim());
        if let Some(key) = key.filter(|key| is_key(key))
            && !above.starts_with('#')
        {
            let message = format!("say above `{key}` what it does, its unit and its range");
            faults.push(Fault::new(&file.path, line, message));
        }
        above = text;
    }
    faults
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

#[test]
fn every_configuration_key_is_explained() {
    let files = repository::texts().iter();
    refuse(
        files.filter(|f| f.path.starts_with(FOLDER) && f.path.ends_with(".toml")).flat_map(check),
    );
}

#[test]
fn a_key_without_its_comment_is_caught() {
    let text = "# Ports.\n[listen]\n# The public one.\nclient = \"a=b\"\nadmin = \"c\"\n\n# Bytes.\nlimits.frame = 1\n";
    bites(check(&Text { path: "a.toml".to_owned(), text: text.to_owned() }), &[5]);
}
