//! The private port.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use ringpost_server::admin::{self, AdminParts, AdminToken, AdminTokenError};
use ringpost_server::metrics::Metrics;
use ringpost_server::readiness::Readiness;

use crate::rig::{Answer, Client, Rig, rig};

struct Admin {
    rig: Rig,
    readiness: Arc<Readiness>,
    address: std::net::SocketAddr,
}

fn admin(token: Option<AdminToken>) -> Admin {
    let rig = rig();
    let readiness = Arc::new(Readiness::starting());
    let metrics = Arc::new(Metrics::default());
    metrics.register(rig.service.counters());
    let listen = "127.0.0.1:0".parse().unwrap();
    let parts = AdminParts { listen, token, readiness: Arc::clone(&readiness), metrics };
    let address = admin::start(&rig.service, parts).unwrap();
    Admin { rig, readiness, address }
}

impl Admin {
    fn get(&self, path: &str, headers: &str) -> Answer {
        let mut client = Client::new(TcpStream::connect(self.address).unwrap());
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        client.answer()
    }
}

fn token_file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn health_is_the_process_and_readiness_has_reasons() {
    let admin = admin(None);
    let health = admin.get("/healthz", "");
    assert_eq!((health.status, health.text.as_str()), (200, "ok\n"));
    let starting = admin.get("/readyz", "");
    assert_eq!(starting.status, 503);
    assert_eq!(starting.body["ready"], false);
    assert_eq!(starting.body["reasons"]["starting"], "recovery is not complete");
    admin.readiness.clear("starting");
    admin.readiness.note("driver", "io_uring: self-test passed");
    let ready = admin.get("/readyz", "");
    assert_eq!((ready.status, ready.body["ready"].clone()), (200, true.into()));
    assert_eq!(ready.body["facts"]["driver"], "io_uring: self-test passed");
    assert_eq!(admin.get("/v1/messages", "").problem(), "not_found");
}

#[test]
fn metrics_are_open_metrics_and_count_requests() {
    let admin = admin(None);
    assert_eq!(admin.rig.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
    let answer = admin.get("/metrics", "");
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    let text = answer.text;
    assert!(text.contains("ringpost_rest_requests_total{outcome=\"not_found\"} 1"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn with_a_token_every_path_needs_it() {
    let (_dir, path) = token_file("0123456789abcdef\nsecond line\n", 0o600);
    let admin = admin(Some(AdminToken::read(&path).unwrap()));
    for path in ["/healthz", "/readyz", "/metrics", "/nowhere"] {
        assert_eq!(admin.get(path, "").problem(), "unauthorized", "{path}");
        let wrong = "Authorization: Bearer 0123456789abcdeF\r\n";
        assert_eq!(admin.get(path, wrong).problem(), "unauthorized", "{path}");
    }
    assert_eq!(admin.get("/healthz", "Authorization: Bearer 0123456789abcdef\r\n").status, 200);
}

#[test]
fn a_token_file_must_be_private_and_long_enough() {
    let (_dir, path) = token_file("0123456789abcdef\n", 0o644);
    assert!(matches!(AdminToken::read(&path), Err(AdminTokenError::Exposed { .. })));
    let (_dir, path) = token_file("short\n0123456789abcdef", 0o600);
    assert!(matches!(AdminToken::read(&path), Err(AdminTokenError::TooShort { .. })));
    let missing = path.with_extension("none");
    assert!(matches!(AdminToken::read(&missing), Err(AdminTokenError::Read { .. })));
}
