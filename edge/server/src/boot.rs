//! The boot summary: what runs, where, why, and how much memory it may take; and how to try it.
//!
//! Pure text from a struct that the server fills once everything stands.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::config::quantity::{duration_text, size_rounded};
use crate::config::{CodeSenderKind, Config, Limits, Provision};

/// What stands once the server has started.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Addresses that clients may connect to, as bound.
    pub listen: Vec<SocketAddr>,
    /// Address of the private port, as bound.
    pub admin: SocketAddr,
    /// The driver's name, such as `io_uring`.
    pub driver: &'static str,
    /// Why this driver.
    pub driver_why: String,
    /// Rings of one worker, and descriptor slots of one ring.
    pub rings: String,
    /// The journal's device and why.
    pub journal_device: String,
    /// What recovery found, such as `replayed 17 records`.
    pub recovery: String,
}

/// The whole summary, as lines for a terminal.
pub fn summary(boot: &Boot, config: &Config, limits: &Limits) -> String {
    let mut text = format!("ringpost {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    let listen: Vec<String> = boot.listen.iter().map(ToString::to_string).collect();
    line("clients", &format!("{} (binary, WebSocket /v1/ws, REST /v1)", listen.join(", ")));
    line("admin", &format!("http://{} (/healthz /readyz /metrics)", boot.admin));
    line("driver", &format!("{} ({})", boot.driver, boot.driver_why));
    line("workers", &format!("{}, {}", limits.workers, boot.rings));
    line("data", &format!("{}, {}", config.data_dir.display(), boot.recovery));
    line("journal", &boot.journal_device);
    line("sign-in", &sign_in_text(config));
    text.push_str(&limits_text(config, limits));
    text.push_str(&memory_text(limits));
    text.push_str(&how_to_try(boot, config));
    text
}

fn sign_in_text(config: &Config) -> String {
    let provision = match config.auth.provision {
        Provision::OnSignIn => {
            "any valid token creates its user (auth.provision = \"on_sign_in\": for development)"
        }
        Provision::Registered => "registered users only",
    };
    let codes = match config.auth.code_sender {
        CodeSenderKind::Log => "one-time codes go to the log (development)",
        CodeSenderKind::Webhook => "one-time codes go to the webhook",
        CodeSenderKind::None => "nobody signs in by phone",
    };
    format!("{provision}; {codes}")
}

fn limits_text(config: &Config, limits: &Limits) -> String {
    let keys = &config.limits;
    let mut text = String::from("limits\n");
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "  {key:<39} {value}");
    };
    let per_worker = limits.connections_per_worker_max;
    line(
        "limits.connections_max",
        format!("{}, at most {per_worker} at one worker", keys.connections_max),
    );
    let per_address = keys.unauthenticated_per_address_max.to_string();
    line("limits.unauthenticated_per_address_max", per_address);
    line(
        "trusted_proxies",
        match config.trusted_proxies.as_slice() {
            [] => "none (clients are counted by the address that connects)".to_owned(),
            networks => networks.join(", "),
        },
    );
    line("limits.handshake_deadline", duration_text(keys.handshake_deadline));
    line("limits.auth_deadline", duration_text(keys.auth_deadline));
    line("limits.ping_interval_tcp", duration_text(keys.ping_interval_tcp));
    line("limits.ping_interval_websocket", duration_text(keys.ping_interval_websocket));
    line("limits.progress_deadline", duration_text(keys.progress_deadline));
    line("limits.message_bytes_max", size_rounded(keys.message_bytes_max));
    line(
        "limits.outbox_bytes_max",
        format!("{} a connection", size_rounded(keys.outbox_bytes_max)),
    );
    line("limits.plaintext", if keys.plaintext { "taken" } else { "refused" }.to_owned());
    line(
        "limits.origins",
        match keys.origins.as_slice() {
            [] => "none (browsers are refused)".to_owned(),
            origins => origins.join(", "),
        },
    );
    line("journal.disk_budget_bytes", size_rounded(config.journal.disk_budget_bytes));
    line("rest.connections_max", config.rest.connections_max.to_string());
    text
}

/// The sum of memory that the limits allow, line by line, against what the host grants.
pub fn memory_text(limits: &Limits) -> String {
    let mut text = String::from("memory, at most\n");
    for line in &limits.memory {
        let _ = write!(text, "  {:<30} {:>10}", line.what, size_rounded(line.bytes));
        for note in [line.arithmetic.as_str(), line.key] {
            if !note.is_empty() {
                let _ = write!(text, "  {note}");
            }
        }
        text.push('\n');
    }
    let _ = write!(text, "  {:<30} {:>10}", "together", size_rounded(limits.memory_bytes()));
    match limits.host_memory {
        Some(host) => {
            let _ = writeln!(text, "  of {host}");
        }
        None => text.push_str("  (the kernel does not say how much there is)\n"),
    }
    text
}

fn how_to_try(boot: &Boot, config: &Config) -> String {
    let Some(address) = boot.listen.first() else { return String::new() };
    let data_dir = match config.data_dir == Config::default().data_dir {
        true => String::new(),
        false => format!(" --data-dir {}", config.data_dir.display()),
    };
    format!(
        "try it\n  \
         ringpost token --new{data_dir}     # ids and a token; the user exists once it has signed in\n  \
         curl http://{address}/v1/messages?after= -H \"Authorization: Bearer TOKEN\"\n  \
         curl http://{admin}/readyz\n",
        admin = boot.admin
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Host, HostMemory};

    #[test]
    fn the_summary_names_addresses_driver_the_main_limits_and_the_sum() {
        let config = Config::default();
        let memory = Some(HostMemory { bytes: 8 << 30, by_cgroup: true });
        let host = Host { cores: 2, memory, files_max: 20_000 };
        let limits = Limits::compute(&config, &host).unwrap();
        let boot = Boot {
            listen: config.listen.clone(),
            admin: config.admin.listen,
            driver: "io_uring",
            driver_why: "self-test passed".into(),
            rings: "1 ring each".into(),
            journal_device: "plain files".into(),
            recovery: "nothing to replay".into(),
        };
        let text = summary(&boot, &config, &limits);
        for expected in [
            "127.0.0.1:7400",
            "127.0.0.1:7401",
            "io_uring (self-test passed)",
            "plain files",
            "nothing to replay",
            "on_sign_in",
            "8 GiB (the cgroup's limit)",
            "try it\n  ringpost token --new  ",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        let together = size_rounded(limits.memory_bytes());
        assert!(text.contains(&together), "{together} in\n{text}");
        for line in &limits.memory {
            assert!(text.contains(line.what), "{} in\n{text}", line.what);
        }
    }
}
