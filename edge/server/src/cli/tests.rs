//! The command line: every flag lands in its key, commands say what they must.

use clap::CommandFactory;

use super::*;
use crate::config::Origin;
use crate::exit::Kind;

fn parse(arguments: &[&str]) -> CommandLine {
    CommandLine::try_parse_from(std::iter::once("ringpost").chain(arguments.iter().copied()))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn load(arguments: &[&str]) -> Loaded {
    let sources = parse(arguments).settings.sources(std::iter::empty());
    config::load(&sources).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_definitions_are_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn flags_become_settings() {
    let loaded = load(&[
        "--listen",
        "127.0.0.1:1,[::1]:2",
        "--admin-listen",
        "127.0.0.1:3",
        "--data-dir",
        "/d",
        "--workers",
        "3",
        "--log-format",
        "json",
        "--log-level",
        "debug",
        "--set",
        "auth.access_ttl = 5m",
    ]);
    let config = &loaded.config;
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.admin.listen.port(), 3);
    assert_eq!(config.data_dir, PathBuf::from("/d"));
    assert_eq!(config.workers, 3);
    assert_eq!(config.log.format, config::LogFormat::Json);
    assert_eq!(config.log.level, config::LogLevel::Debug);
    assert_eq!(config.auth.access_ttl.as_secs(), 300);
    assert_eq!(loaded.origins.len(), 7);
    assert!(loaded.origins.values().all(|origin| *origin == Origin::Flag));
}

#[test]
fn serve_is_what_happens_without_a_command() {
    assert!(parse(&[]).command.is_none());
    let mut served = 0;
    let line = parse(&["--set", "workers=1"]);
    run(line, |load| {
        served += 1;
        assert_eq!(load().unwrap().config.workers, 1);
        Ok(())
    })
    .unwrap();
    assert_eq!(served, 1);
}

#[test]
fn a_bad_configuration_never_serves() {
    let line = parse(&["--admin-listen", "0.0.0.0:7401"]);
    let failure = run(line, |load| load().map(drop)).unwrap_err();
    assert_eq!(failure.kind, Kind::Config);
    let text = failure.to_string();
    assert!(text.contains("admin.listen (flag): found 0.0.0.0:7401"), "{text}");
    assert!(text.contains("admin.token_file"), "{text}");
}

#[test]
fn a_bad_configuration_does_not_keep_a_journal_from_being_looked_at() {
    let line = parse(&["--set", "workers=many", "journal", "inspect", "/nowhere"]);
    assert_eq!(run(line, |_| panic!("served")).unwrap_err().kind, Kind::Storage);
}

#[test]
fn check_config_says_what_the_settings_allow() {
    let text = commands::check_config(&load(&["--workers", "2"]), true).unwrap();
    for expected in [
        "workers = 2  # flag; RINGPOST_WORKERS",
        "limits.message_bytes_max = \"64KiB\"  # default; RINGPOST_LIMITS__MESSAGE_BYTES_MAX",
        "together",
        "The configuration is good: 1 key set",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn token_needs_a_data_directory_and_then_signs_for_the_verifier() {
    use crate::auth::{Keys, TokenRules, TokenVerifier};

    let dir = tempfile::tempdir().unwrap();
    let mut config = config::Config { data_dir: dir.path().to_owned(), ..Default::default() };
    config.auth.audience = "chat".into();
    let user = uuid::Uuid::new_v4();
    let asked = Token {
        users: vec![user],
        new: false,
        device: 9,
        ttl: Some(60),
        json: false,
        settings: Settings::default(),
    };
    let failure = commands::token(&config, &asked).unwrap_err();
    assert_eq!(failure.kind, Kind::Usage);

    let now = crate::clock::wall_ms();
    let keys = Keys::open(dir.path(), now).unwrap();
    let token = commands::token(&config, &asked).unwrap();
    let rules = TokenRules { audience: "chat".into(), clock_skew: std::time::Duration::ZERO };
    let verifier = TokenVerifier::new(&keys.signer, "ringpost", rules);
    let verified = verifier.verify(&token, crate::clock::wall_ms()).unwrap();
    assert_eq!(verified.user.uuid(), user);
    assert_eq!(verified.device.number(), 9);
    // Whole seconds are signed: the end lies within a second of sixty from now.
    assert!(verified.expires_at_ms.abs_diff(now + 60_000) <= 2_000);
}

#[test]
fn a_new_user_is_printed_for_people_and_for_machines() {
    let dir = tempfile::tempdir().unwrap();
    let config = config::Config { data_dir: dir.path().to_owned(), ..Default::default() };
    crate::auth::Keys::open(dir.path(), crate::clock::wall_ms()).unwrap();
    let token = |words: &[&str]| {
        let Some(Command::Token(asked)) = parse(&[&["token"], words].concat()).command else {
            panic!("it is the command `token`")
        };
        commands::token(&config, &asked).unwrap()
    };
    let text = token(&["--new"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["user", user, "device", "1", "token", shown] = words[..] else { panic!("{text}") };
    assert!(user.parse::<uuid::Uuid>().is_ok() && shown.len() > 64, "{text}");
    assert_ne!(token(&["--new"]), text, "another one each time");

    let line: serde_json::Value = serde_json::from_str(&token(&["--new", "--json"])).unwrap();
    assert_eq!((&line["device"], &line["expires_in"]), (&1.into(), &3_600.into()), "{line}");
    assert!(line["user_id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok(), "{line}");
    assert!(line["token"].as_str().unwrap().len() > 64, "{line}");
    let lines = token(&["--user", user, "--user", user, "--json", "--device", "2"]);
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["user_id"], &line["device"]), (&user.into(), &2.into()), "{line}");
    }
}

#[test]
fn settings_stand_before_and_behind_a_command_that_takes_them_and_nowhere_else() {
    let line = ["--workers", "2", "--set", "workers=9", "serve", "--workers", "3"];
    let line =
        parse(&[&line[..], &["--data-dir", "/d", "--set", "limits.plaintext=true"]].concat());
    let served = run(line, |load| {
        let loaded = load()?;
        assert_eq!((loaded.config.workers, loaded.config.limits.plaintext), (3, true));
        assert_eq!(loaded.config.data_dir, PathBuf::from("/d"));
        Ok(())
    });
    served.unwrap();
    // What takes none does not list them in its help, and refuses them.
    for command in ["try", "self-test", "journal"] {
        let mut line = CommandLine::command();
        let help = line.find_subcommand_mut(command).unwrap().render_long_help().to_string();
        assert!(!help.contains("--data-dir"), "{help}");
        let words = ["ringpost", command, "--workers", "1"];
        assert!(CommandLine::try_parse_from(words).is_err(), "{command}");
    }
    let failure = run(parse(&["--workers", "1", "try"]), |_| panic!("served")).unwrap_err();
    assert_eq!(failure.kind, Kind::Usage);
}

#[test]
fn a_journal_is_listed_and_what_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let failure = commands::inspect(&dir.path().join("none")).unwrap_err();
    assert_eq!(failure.kind, Kind::Storage);
    let config = ringpost_journal::Config {
        segment_bytes: 1 << 20,
        batch_bytes_max: 1 << 20,
        record_bytes_max: 128 << 10,
        ..Default::default()
    };
    let path = dir.path().join("journal");
    drop(ringpost_journal::open(&path, &config, 0).unwrap());
    let line = parse(&["journal", "inspect", path.to_str().unwrap()]);
    run(line, |_| panic!("served")).unwrap();
}

#[test]
fn arguments_out_of_range_are_refused_by_the_parser() {
    for arguments in [
        ["token", "--user", "x", "--device", "1"].as_slice(),
        &["token"],
        &["token", "--new", "--user", "6f1f3c52-6d1b-4b57-9d29-5b8f7c0a1e11"],
        &["token", "--user", "6f1f3c52-6d1b-4b57-9d29-5b8f7c0a1e11", "--device", "128"],
        &["token", "--user", "6f1f3c52-6d1b-4b57-9d29-5b8f7c0a1e11", "--device", "0"],
        &["--set", "novalue"],
        &["--set", "=5"],
    ] {
        let arguments = std::iter::once("ringpost").chain(arguments.iter().copied());
        assert!(CommandLine::try_parse_from(arguments).is_err());
    }
}
