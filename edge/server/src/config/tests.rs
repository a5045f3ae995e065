//! The configuration: precedence of the layers, messages for mistakes, the documented defaults.

use std::io::Write;

use super::*;
use crate::host::{Host, HostMemory};

fn host(cores: u16, memory: Option<HostMemory>) -> Host {
    Host { cores, memory, files_max: 1 << 20 }
}

/// The file that documents every key.
const DEFAULT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/default.toml");

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn problems(sources: &Sources) -> Vec<Problem> {
    match load(sources).and_then(|loaded| check(&loaded).map(|()| loaded)) {
        Err(ConfigError::Invalid(problems)) => problems,
        other => panic!("expected problems, got {other:?}"),
    }
}

fn flags(flags: &[(&str, &str)]) -> Sources {
    Sources { flags: pairs(flags), ..Sources::default() }
}

#[test]
fn the_documented_file_equals_the_defaults_and_explains_every_key() {
    let text = std::fs::read_to_string(DEFAULT_FILE).unwrap();
    let sources = Sources { file: Some(DEFAULT_FILE.into()), ..Sources::default() };
    let loaded = load(&sources).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.config, Config::default());
    let named: Vec<&String> = loaded.origins.keys().collect();
    let all = keys();
    assert_eq!(named, all.iter().collect::<Vec<_>>(), "every key stands in the file");
    check(&loaded).unwrap_or_else(|error| panic!("{error}"));

    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let is_key = line.split_once(" = ").is_some_and(|(key, _)| !key.starts_with('#'));
        if is_key {
            let above = number.checked_sub(1).map_or("", |above| lines[above]);
            assert!(above.starts_with("# "), "no comment above line {}: {line}", number + 1);
        }
    }
}

#[test]
fn later_layers_win_and_origins_are_known() {
    let file = file("workers = 2\n[limits]\nping_interval_tcp = \"10s\"\nplaintext = true\n");
    let sources = Sources {
        file: Some(file.path().into()),
        environment: pairs(&[
            ("RINGPOST_WORKERS", "3"),
            ("RINGPOST_LIMITS__PING_INTERVAL_TCP", "20s"),
            ("RINGPOST_LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
            ("PATH", "/bin"),
        ]),
        flags: pairs(&[("workers", "4")]),
    };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.workers, 4);
    assert_eq!(loaded.config.limits.ping_interval_tcp.as_secs(), 20);
    assert!(loaded.config.limits.plaintext);
    assert_eq!(loaded.config.listen.len(), 2);
    assert_eq!(loaded.config.auth, Auth::default());
    assert_eq!(loaded.origins["workers"], Origin::Flag);
    let variable = Origin::Environment("RINGPOST_LIMITS__PING_INTERVAL_TCP".into());
    assert_eq!(loaded.origins["limits.ping_interval_tcp"], variable);
    assert_eq!(loaded.origins["limits.plaintext"], Origin::File(file.path().into()));
    assert!(!loaded.origins.contains_key("data_dir"));
}

#[test]
fn the_environment_can_name_the_file_and_a_flag_overrides_it() {
    let (one, two) = (file("workers = 1\n"), file("workers = 2\n"));
    let path = one.path().to_str().unwrap();
    let mut sources = Sources { environment: pairs(&[(ENV_FILE, path)]), ..Sources::default() };
    assert_eq!(load(&sources).unwrap().config.workers, 1);
    sources.file = Some(two.path().into());
    assert_eq!(load(&sources).unwrap().config.workers, 2);
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for (key, value) in values(&Config::default()) {
        let text = match value.parse::<toml::Value>() {
            Ok(toml::Value::String(text)) => text,
            Ok(toml::Value::Array(parts)) => {
                let parts: Vec<&str> = parts.iter().filter_map(toml::Value::as_str).collect();
                parts.join(",")
            }
            _ => value.clone(),
        };
        let sources = Sources { environment: vec![(env_name(&key), text)], ..Sources::default() };
        let loaded = load(&sources).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.config, Config::default(), "{key}");
        assert!(loaded.origins.contains_key(&key), "{key}");
    }
}

#[test]
fn what_a_cluster_injects_for_a_service_named_ringpost_is_not_ours() {
    let sources = Sources {
        environment: pairs(&[
            ("RINGPOST_SERVICE_HOST", "10.0.0.1"),
            ("RINGPOST_SERVICE_PORT_CLIENTS", "7400"),
            ("RINGPOST_PORT", "tcp://10.0.0.1:7400"),
            ("RINGPOST_PORT_7400_TCP_ADDR", "10.0.0.1"),
        ]),
        ..Sources::default()
    };
    assert_eq!(load(&sources).unwrap().config, Config::default());
    let injected = |key: &String| key.starts_with("service") || key.starts_with("port");
    assert!(!keys().iter().any(injected), "a key of ours would be shadowed");
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    let file = file("wrokers = 2\n[limits]\nmesage_bytes_max = 5\n[nothing]\nx = 1\n[empty]\n");
    let sources = Sources {
        file: Some(file.path().into()),
        environment: pairs(&[("RINGPOST_LIMIT__ORIGINS", "x"), ("RINGPOST_LIMITS_QUEUE_TTL", "x")]),
        flags: pairs(&[("auth.password", "hunter2")]),
    };
    let found = problems(&sources);
    let by_key = |key: &str| found.iter().find(|problem| problem.key == key).unwrap().to_string();
    assert!(by_key("wrokers").contains("`workers`"));
    assert!(by_key("limits.mesage_bytes_max").contains("`limits.message_bytes_max`"));
    assert!(by_key("nothing.x").contains("--keys"));
    assert!(by_key("limit.origins").contains("`RINGPOST_LIMITS__ORIGINS`"));
    assert_eq!(
        by_key("limits_queue_ttl"),
        "limits_queue_ttl (environment RINGPOST_LIMITS_QUEUE_TTL): no such key; did you \
         mean `RINGPOST_LIMITS__QUEUE_TTL`?"
    );
    assert!(by_key("auth.password").contains("auth.access_ttl"));
    for problem in &found {
        let text = problem.to_string();
        assert!(text.contains(": no such key; "), "{text}");
        assert!(!text.contains("allowed") && !text.contains("hunter2"), "{text}");
    }
    assert_eq!(found.len(), 7);
}

#[test]
fn a_bad_value_is_answered_with_key_layer_found_and_allowed() {
    #[track_caller]
    fn expect(key: &str, value: &str, allowed: &str) {
        let found = problems(&flags(&[(key, value)]));
        assert_eq!(found.len(), 1, "{found:?}");
        let text = found[0].to_string();
        assert!(text.starts_with(&format!("{key} (flag): found ")), "{text}");
        assert!(text.contains(value), "{text}");
        let (_, said) = text.split_once("; allowed: ").expect("what may stand there");
        assert!(said.contains(allowed), "{text}");
    }
    expect("limits.ping_interval_tcp", "5 parsecs", "\"15m\"");
    expect("limits.ping_interval_tcp", "500ms", "1s to 1h");
    expect("limits.message_bytes_max", "-1", "64KiB");
    expect("limits.message_bytes_max", "1MiB", "256B to 64KiB");
    expect("workers", "many", "a whole number up to 65535");
    expect("workers", "65", "0 to 64");
    expect("listen", "localhost:7400", "127.0.0.1:7400");
    expect("admin.listen", "7401", "ADDRESS:PORT");
    expect("journal.device", "tape", "glommio");
    expect("limits.plaintext", "perhaps", "true or false");
    expect("auth.provision", "never", "on_sign_in");
    expect("auth.audience", "", "1 to 256 bytes");
    expect("journal.segment_bytes", "4500KiB", "multiple of 1MiB");
    expect("journal.disk_budget_bytes", "1MiB", "4 segments, which is 256MiB");
    expect("limits.auth_deadline", "2s", "handshake_deadline");
    expect("limits.origins", "chat.example", "https://chat.example");
    expect("limits.origins", "https://chat.example/path", "https://chat.example");
    expect("limits.origins", "https://chat.example:443", "the scheme's own port");
    expect("limits.origins", "nil", "\"null\"");
    expect("auth.verify_threads", "0", "1 to 64");
}

/// The two ends that an error names, in the order in which it names them.
fn ends(problem: &Problem) -> Option<(String, String)> {
    let Mistake::Value { allowed, .. } = &problem.mistake else { return None };
    let (low, rest) = allowed.split_once(" to ")?;
    let high = rest.split(',').next().unwrap_or(rest);
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    (is_number(low) && is_number(high)).then(|| (low.to_owned(), high.to_owned()))
}

/// A number with a unit of size or time, or with none, in the smallest unit.
fn amount(text: &str) -> u64 {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" | "us" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        other => panic!("{other}"),
    };
    number.parse::<u64>().unwrap() * factor
}

#[test]
fn a_range_that_an_error_names_has_its_least_first_and_both_ends_are_taken() {
    let told = |key: &str, value: &str| match load(&flags(&[(key, value)])) {
        Ok(loaded) => match check(&loaded) {
            Ok(()) => Vec::new(),
            Err(ConfigError::Invalid(problems)) => problems,
            Err(error) => panic!("{error}"),
        },
        // Beyond what the type of the key holds.
        Err(_) => Vec::new(),
    };
    let mut ranges = 0;
    for key in keys() {
        for value in
            ["0", "255", "65535", "4294967295", "0B", "9007199254740991B", "0s", "99999999d"]
        {
            for problem in told(&key, value) {
                let Some((low, high)) = ends(&problem) else { continue };
                ranges += 1;
                assert!(amount(&low) <= amount(&high), "{key} = {value}: {problem}");
                if problem.key != key {
                    continue;
                }
                for end in [low, high] {
                    let again = told(&key, &end);
                    let own = again.iter().find(|problem| problem.key == key);
                    assert!(own.is_none(), "{key} = {end}: {own:?}");
                }
            }
        }
    }
    assert!(ranges > 40, "{ranges}");
}

#[test]
fn a_setting_is_taken_in_the_form_that_check_config_shows() {
    let file = file("[limits]\norigins = [\"https://a.example\", \"null\"]\n");
    let sources = Sources { file: Some(file.path().into()), ..Sources::default() };
    let set = load(&sources).unwrap().config;
    assert_eq!(set.limits.origins, ["https://a.example", "null"]);
    for config in [Config::default(), set] {
        let shown = values(&config);
        let pairs: Vec<(&str, &str)> =
            shown.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(load(&flags(&pairs)).unwrap().config, config);
    }
}

#[test]
fn a_list_is_taken_with_and_without_brackets() {
    let origins =
        |text: &str| load(&flags(&[("limits.origins", text)])).map(|it| it.config.limits.origins);
    for text in [
        "[\"https://a.example\",\"https://b.example\"]",
        "['https://a.example', 'https://b.example',]",
        "https://a.example,https://b.example",
        "https://a.example, https://b.example,",
    ] {
        assert_eq!(origins(text).unwrap(), ["https://a.example", "https://b.example"], "{text}");
    }
    for text in ["", "[]"] {
        assert!(origins(text).unwrap().is_empty(), "{text}");
    }
    for text in ["[1]", "[\"https://a.example\", 2]"] {
        assert!(origins(text).is_err(), "{text}");
    }
    let address = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let listen = |text: &str| load(&flags(&[("listen", text)])).unwrap().config.listen;
    let both = listen("127.0.0.1:1,[::1]:2");
    assert_eq!(both, [address("127.0.0.1:1"), address("[::1]:2")]);
    assert_eq!(listen("[\"127.0.0.1:1\", \"[::1]:2\"]"), both);
    assert_eq!(listen("[::1]:2"), [address("[::1]:2")]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = problems(&flags(&[("workers", "x"), ("log.level", "loud"), ("nope", "1")]));
    assert_eq!(found.len(), 3);
    let text = ConfigError::Invalid(found).to_string();
    assert!(text.starts_with("3 mistakes in the configuration:\n"), "{text}");
}

#[test]
fn combinations_that_contradict_are_refused() {
    let keys_of = |sources: &Sources| -> Vec<String> {
        problems(sources).into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys_of(&flags(&[("admin.listen", "0.0.0.0:7401")])), ["admin.listen"]);
    assert_eq!(keys_of(&flags(&[("admin.listen", "127.0.0.1:7400")])), ["admin.listen"]);
    assert_eq!(keys_of(&flags(&[("listen", "127.0.0.1:1,127.0.0.1:1")])), ["listen"]);
    assert_eq!(keys_of(&flags(&[("listen", "")])), ["listen"]);
    assert_eq!(keys_of(&flags(&[("auth.jwks_file", "/k")])), ["auth.jwks_issuer"]);
    assert_eq!(keys_of(&flags(&[("auth.code_sender", "webhook")])), ["auth.webhook_url"]);
    let token = flags(&[("admin.listen", "0.0.0.0:7401"), ("admin.token_file", "/t")]);
    check(&load(&token).unwrap()).unwrap();
    let two_random_ports = flags(&[("listen", "127.0.0.1:0,127.0.0.1:0")]);
    check(&load(&two_random_ports).unwrap()).unwrap();
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_an_error_with_its_path() {
    let sources = Sources { file: Some("/nowhere/x.toml".into()), ..Sources::default() };
    let error = load(&sources).unwrap_err();
    assert!(matches!(&error, ConfigError::File(_)));
    assert!(error.to_string().contains("/nowhere/x.toml"));
    let file = file("workers = = 2\n");
    let sources = Sources { file: Some(file.path().into()), ..Sources::default() };
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn a_section_where_a_value_belongs_and_the_reverse_are_refused() {
    for text in ["limits = 5\n", "[workers]\nx = 1\n", "[listen]\n", "workers = [1]\n"] {
        let file = file(text);
        let sources = Sources { file: Some(file.path().into()), ..Sources::default() };
        assert_eq!(problems(&sources).len(), 1, "{text}");
    }
    // An empty section changes nothing.
    let file = file("[limits]\n[auth]\n");
    let sources = Sources { file: Some(file.path().into()), ..Sources::default() };
    assert_eq!(load(&sources).unwrap().config, Config::default());
}

#[test]
fn limits_share_the_node_among_its_workers() {
    let memory = Some(HostMemory { bytes: 16 << 30, by_cgroup: false });
    let mut config = Config::default();
    let one = Limits::compute(&config, &host(1, memory)).unwrap();
    assert_eq!(one.workers, 1);
    assert_eq!(one.connections_per_worker_max, config.limits.connections_max);
    let four = Limits::compute(&config, &host(4, memory)).unwrap();
    assert_eq!(four.workers, 4);
    assert_eq!(four.connections_per_worker_max, config.limits.connections_max / 4 * 5 / 4);
    assert_eq!(four.shard.resident_bytes_max, config.limits.resident_bytes_max / 4);
    let in_flight =
        four.shard.in_flight_bytes_max + four.shard.waiting_bytes_max + four.shard.recent_bytes_max;
    assert_eq!(in_flight, config.limits.in_flight_bytes_max / 4);
    // More workers cost their rings and tables, not another share of what clients may cost.
    let more = four.memory_bytes() - one.memory_bytes();
    assert!(more < one.memory_bytes() / 10, "{more}");
    config.workers = 3;
    assert_eq!(Limits::compute(&config, &host(1, memory)).unwrap().workers, 3);
}

#[test]
fn few_files_make_many_rings_and_take_half_of_the_descriptors() {
    let check = |workers, connections_max, files_max, expected: (u32, u32)| {
        let mut config = Config { workers, ..Config::default() };
        config.limits.connections_max = connections_max;
        let limits = Limits::compute(&config, &Host { cores: 1, memory: None, files_max }).unwrap();
        assert_eq!((limits.rings.rings, limits.connections_per_worker_max), expected);
    };
    check(1, 1_000_000, 1 << 20, (1, 1_000_000));
    check(1, 2_000_000, 20_000, (100, 2_000_000));
    check(2, 2_000_000, 20_000, (63, 1_250_000));
    // Two descriptors a ring: 4 x 64 rings take 512 of 1,024.
    check(4, 2_000_000, 1_024, (64, 65_536));
}

#[test]
fn limits_that_allow_more_memory_than_there_is_are_refused_with_what_to_lower() {
    let config = Config::default();
    let small = HostMemory { bytes: 256 << 20, by_cgroup: true };
    let error = Limits::compute(&config, &host(2, Some(small))).unwrap_err();
    assert!(error.allowed_bytes > small.bytes);
    let text = error.to_string();
    assert!(text.contains("256 MiB (the cgroup's limit)"), "{text}");
    assert!(text.contains("limits.connections_max"), "{text}");
    assert!(Limits::compute(&config, &host(2, None)).is_ok(), "unknown is not refused");
}

#[test]
fn what_the_parts_are_built_with_passes_their_own_checks() {
    for workers in [1, 2, 7, super::WORKERS_MAX] {
        let mut config = Config { workers, ..Config::default() };
        let limits = Limits::compute(&config, &host(1, None)).unwrap();
        limits.shard.check().unwrap();
        ringpost_journal::Limits::new(&limits.journal).unwrap();
        assert!(limits.ring.buffers.is_power_of_two());
        let buffers = u64::from(limits.ring.buffers) * u64::from(limits.ring.buffer_bytes);
        assert!(buffers <= config.limits.receive_buffers_bytes.max(64 * 4_096));
        // The smallest of everything that the ranges allow.
        config.journal.segment_bytes = 1 << 20;
        config.journal.disk_budget_bytes = 4 << 20;
        config.journal.pending_bytes_max = 1 << 20;
        config.limits.receive_buffers_bytes = 1 << 20;
        config.limits.in_flight_bytes_max = 1 << 20;
        config.limits.resident_bytes_max = 1 << 20;
        let limits = Limits::compute(&config, &host(1, None)).unwrap();
        limits.shard.check().unwrap();
        ringpost_journal::Limits::new(&limits.journal).unwrap();
    }
}

#[test]
fn the_defaults_fit_a_host_of_two_gibibytes() {
    let memory = HostMemory { bytes: 2 << 30, by_cgroup: false };
    for cores in [1, 2, 4, 8] {
        Limits::compute(&Config::default(), &host(cores, Some(memory))).unwrap();
    }
}
