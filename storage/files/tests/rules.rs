//! Setup: files, links, pipes and directories under one name. Action: each way of opening, by each
//! rule. Expectation: a regular file of ours opens; for all else the refusal says what was found, and
//! nothing is read, emptied or waited for. What is replaced is replaced whole.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use nix::unistd::mkfifo;
use ringpost_files::{FileError, Rule};

/// All rules, for files of who runs the test.
fn rules() -> [Rule; 5] {
    let secret_of = Rule::SecretOf(geteuid().as_raw());
    [Rule::Ours, Rule::Secret, secret_of, Rule::Named, Rule::NamedSecret]
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn found(outcome: Result<fs::File, FileError>) -> String {
    match outcome {
        Err(FileError::Refused(refusal)) => refusal.found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_regular_file_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "content").unwrap();
    set_mode(&at("file"), 0o600);
    mkfifo(&at("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    symlink(at("pipe"), at("link-to-pipe")).unwrap();
    for rule in rules() {
        assert!(ringpost_files::open_to_read(&at("file"), rule).is_ok());
        assert_eq!(found(ringpost_files::open_to_read(&at("pipe"), rule)), "a named pipe");
        assert_eq!(found(ringpost_files::open_to_read(dir.path(), rule)), "a directory");
        assert_eq!(found(ringpost_files::open_to_read(Path::new("/dev/null"), rule)), "a device");
        assert!(ringpost_files::open_to_read(&at("none"), rule).unwrap_err().is_not_found());
    }
    let open: [fn(&Path) -> _; 3] = [
        ringpost_files::open_to_write,
        ringpost_files::open_or_create,
        ringpost_files::open_to_append,
    ];
    for open in open {
        assert_eq!(found(open(&at("pipe"))), "a named pipe");
        assert_eq!(found(open(&at("link-to-pipe"))), "a symbolic link");
        assert!(open(&at("file")).is_ok());
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "content");
}

#[test]
fn a_link_is_followed_where_an_operator_names_it_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    fs::write(&file, "content").unwrap();
    set_mode(&file, 0o600);
    symlink(&file, &link).unwrap();
    for rule in rules() {
        let opened = ringpost_files::open_to_read(&link, rule);
        match rule {
            Rule::Named | Rule::NamedSecret => assert!(opened.is_ok()),
            Rule::Ours | Rule::Secret | Rule::SecretOf(_) => {
                assert_eq!(found(opened), "a symbolic link")
            }
        }
    }
}

#[test]
fn each_rule_takes_the_modes_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (mode, taken) in [
        (0o600, [true, true, true, true, true]),
        (0o400, [true, true, true, true, true]),
        (0o640, [true, false, false, true, false]),
        (0o644, [true, false, false, true, false]),
        (0o660, [true, false, false, false, false]),
        (0o602, [true, false, false, false, false]),
    ] {
        set_mode(&file, mode);
        let outcome = rules().map(|rule| ringpost_files::read(&file, 1, rule).is_ok());
        assert_eq!(outcome, taken, "{mode:o}");
    }
}

#[test]
fn a_secret_of_somebody_else_is_taken_where_the_directory_is_theirs_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    set_mode(&file, 0o600);
    let this_user = geteuid().as_raw();
    assert_eq!(ringpost_files::owner_of(dir.path()).unwrap(), this_user);
    let taken = |owner| ringpost_files::read(&file, 1, Rule::SecretOf(owner));
    assert!(taken(this_user).is_ok());
    let refused = taken(this_user + 1).unwrap_err().to_string();
    assert!(refused.contains("whose directory it is in"), "{refused}");
}

#[test]
fn what_is_longer_than_it_may_be_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "12345").unwrap();
    assert_eq!(ringpost_files::read_text(&file, 5, Rule::Ours).unwrap(), "12345");
    let error = ringpost_files::read(&file, 4, Rule::Ours).unwrap_err().to_string();
    assert!(error.contains("more than 4 bytes"), "{error}");
}

#[test]
fn a_file_is_replaced_whole_and_a_link_beside_it_is_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let (file, victim) = (dir.path().join("file"), dir.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join("file.new")).unwrap();
    for content in ["first", "second"] {
        ringpost_files::replace(&file, content.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!dir.path().join("file.new").exists());
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    // A link under the name itself is replaced, too.
    fs::remove_file(&file).unwrap();
    symlink(&victim, &file).unwrap();
    ringpost_files::replace(&file, b"third").unwrap();
    assert!(!file.is_symlink());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    let mut twice = ringpost_files::create_new(&dir.path().join("new")).unwrap();
    twice.write_all(b"x").unwrap();
    let error = ringpost_files::create_new(&dir.path().join("new")).unwrap_err();
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_directory_is_ours_alone_with_all_that_stands_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/root");
    ringpost_files::make_dir(&root).unwrap();
    ringpost_files::check_dir(&root).unwrap();
    ringpost_files::make_dir(&root.join("b/c")).unwrap();
    fs::write(root.join("b/c/file"), "").unwrap();
    // On another disk, by a link right below.
    let other = dir.path().join("other");
    ringpost_files::make_dir(&other).unwrap();
    symlink(&other, root.join("linked")).unwrap();
    ringpost_files::check_tree(&root).unwrap();
    set_mode(&other, 0o750);
    let error = ringpost_files::check_tree(&root).unwrap_err().to_string();
    assert!(error.contains("found mode 750") && error.contains("chmod 700"), "{error}");
    set_mode(&other, 0o700);
    for (name, open, mend) in [("b", 0o777, "`chmod 700"), ("b/c", 0o710, "`chmod 700")] {
        set_mode(&root.join(name), open);
        let error = ringpost_files::check_tree(&root).unwrap_err().to_string();
        let found = format!("{name}: found mode {open:o}");
        assert!(error.contains(&found) && error.contains(mend), "{error}");
        set_mode(&root.join(name), 0o700);
    }
    ringpost_files::check_tree(&root).unwrap();
    // Deeper down nobody puts one.
    symlink(&other, root.join("b/c/deep")).unwrap();
    let error = ringpost_files::check_tree(&root).unwrap_err().to_string();
    assert!(error.contains("b/c/deep: found a symbolic link"), "{error}");
}
