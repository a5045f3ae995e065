//! The private port.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use ringpost_conn::question::{self, ConnectionPage, Question};
use ringpost_server::admin::{AdminParts, AdminService, AdminToken, AdminTokenError};
use ringpost_server::config::{self, Sources};
use ringpost_server::control::Inspect;
use ringpost_server::metrics::Metrics;
use ringpost_server::readiness::Readiness;
use ringpost_shard::Position;
use ringpost_shard::event::WorkerId;
use ringpost_shard::inspect::{MessageView, Residence, SearchStep, UserView};
use ringpost_wire::UserId;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::rig::{Answer, Client, Rig, rig, user};

/// Three workers: the first two hold nobody, the last one may be told to be silent.
#[derive(Default)]
struct Workers {
    one_is_silent: AtomicBool,
    trust_the_clock: AtomicBool,
}

impl Inspect for Workers {
    fn workers(&self) -> u16 {
        3
    }

    fn home(&self, user: UserId) -> WorkerId {
        WorkerId(u16::from(user.0[0]) % 3)
    }

    fn trust_clock(&self) {
        self.trust_the_clock.store(true, SeqCst);
    }

    fn ask(&self, worker: WorkerId, question: Question) -> oneshot::Receiver<question::Answer> {
        let (sender, receiver) = oneshot::channel();
        if worker == WorkerId(2) && self.one_is_silent.load(SeqCst) {
            return receiver;
        }
        let residence = Residence::Absent;
        let answer = match question {
            Question::Connections { .. } => {
                question::Answer::Connections(ConnectionPage::default())
            }
            Question::User(_) => question::Answer::User(UserView {
                residence,
                bytes: 0,
                waiting: 0,
                arriving: 0,
                sessions: Vec::new(),
                devices: Vec::new(),
            }),
            Question::Message(_) => question::Answer::Message(MessageView {
                residence,
                connected: Vec::new(),
                devices: Vec::new(),
            }),
            Question::UnderWay { .. } => question::Answer::UnderWay(SearchStep::default()),
        };
        sender.send(answer).unwrap();
        receiver
    }
}

struct Admin {
    rig: Rig,
    readiness: Arc<Readiness>,
    workers: Arc<Workers>,
    address: std::net::SocketAddr,
    _service: AdminService,
}

fn admin(token: Option<AdminToken>) -> Admin {
    let rig = rig();
    let readiness = Arc::new(Readiness::starting());
    let metrics = Arc::new(Metrics::default());
    metrics.register(rig.service.counters());
    let listen = "127.0.0.1:0".parse().unwrap();
    let workers = Arc::new(Workers::default());
    let parts = AdminParts {
        listen,
        token,
        readiness: Arc::clone(&readiness),
        metrics,
        inspect: Arc::clone(&workers) as _,
        store: Arc::clone(&rig.store) as _,
        fence: Arc::clone(&rig.progress) as _,
        clock: Arc::clone(&rig.clock),
        queue_ttl: Duration::from_secs(3_600),
        settings: Arc::new(config::load(&Sources::default()).unwrap()),
        backup: None,
    };
    let service = AdminService::start(parts).unwrap();
    let address = service.address();
    Admin { rig, readiness, workers, address, _service: service }
}

impl Admin {
    fn get(&self, path: &str, headers: &str) -> Answer {
        let mut client = Client::new(TcpStream::connect(self.address).unwrap());
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
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
fn health_is_answered_whoever_else_holds_connections() {
    let admin = admin(None);
    let half = |_| {
        let mut client = Client::new(TcpStream::connect(admin.address).unwrap());
        client.send("GET /metrics HTTP/1.1\r\nHo");
        client
    };
    let kept = |_| {
        let mut client = Client::new(TcpStream::connect(admin.address).unwrap());
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client
    };
    let halves: Vec<_> = (0..70).map(half).collect();
    assert_eq!(admin.get("/healthz", "").status, 200);
    let mut kept: Vec<_> = (0..70).map(kept).collect();
    assert_eq!(admin.get("/readyz", "").status, 503, "it is starting, and says so");
    // The oldest was let go, and the newest goes on.
    assert!(kept[0].is_closed());
    kept[69].send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(kept[69].answer().status, 200);
    drop(halves);
}

#[test]
fn a_name_that_a_page_could_point_here_is_refused_for_questions_and_words() {
    let admin = admin(None);
    let ask = |line: &str, fields: &str| {
        let mut client = Client::new(TcpStream::connect(admin.address).unwrap());
        client.send(&format!("{line} HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n"));
        client.answer()
    };
    let foreign = "Host: evil.example:7401\r\n";
    for line in ["GET /healthz", "GET /admin/connections", "POST /admin/clock/trust", "GET /no"] {
        let answer = ask(line, foreign);
        assert_eq!((answer.status, answer.problem()), (421, "misdirected"), "{line}");
    }
    let absolute = ask("GET http://evil.example/healthz", "Host: localhost\r\n");
    assert_eq!(absolute.status, 421);
    assert!(!admin.workers.trust_the_clock.load(SeqCst));
    for known in ["Host: 127.0.0.1\r\n", "Host: [::1]:1\r\n", "Host: localhost:7\r\n"] {
        assert_eq!(ask("GET /healthz", known).status, 200, "{known}");
    }
    let mut old = Client::new(TcpStream::connect(admin.address).unwrap());
    old.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().status, 200, "who sends no Host is no browser");
}

#[test]
fn metrics_come_in_the_form_that_is_asked_for_and_count_requests() {
    let admin = admin(None);
    assert_eq!(admin.rig.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
    let answer = admin.get("/metrics", "");
    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
    let answer = admin.get("/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    let text = answer.text;
    assert!(text.contains("ringpost_rest_requests_total{outcome=\"not_found\"} 1"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn with_a_token_every_path_needs_it() {
    let (_dir, path) = token_file("0123456789abcdef\nsecond line\n", 0o600);
    let admin = admin(Some(AdminToken::read(&path).unwrap()));
    let id = Uuid::new_v4();
    let questions = [format!("/admin/explain/{id}"), format!("/admin/users/{id}")];
    let fixed = ["/healthz", "/readyz", "/metrics", "/nowhere", "/admin/connections"];
    for path in fixed.into_iter().chain(questions.iter().map(String::as_str)) {
        assert_eq!(admin.get(path, "").problem(), "not_operator", "{path}");
        let wrong = "Authorization: Bearer 0123456789abcdeF\r\n";
        assert_eq!(admin.get(path, wrong).problem(), "not_operator", "{path}");
    }
    assert_eq!(admin.get("/healthz", "Authorization: Bearer 0123456789abcdef\r\n").status, 200);
}

#[test]
fn a_question_with_nonsense_in_it_is_refused_and_says_what_belongs_there() {
    let admin = admin(None);
    for path in ["explain", "users"] {
        for id in ["x", "%00", "%ff", "..%2f..%2fetc", "00000000-0000-4000-8000-00000000000g", "1"]
        {
            let answer = admin.get(&format!("/admin/{path}/{id}"), "");
            assert_eq!((answer.status, answer.problem()), (400, "bad_parameter"), "{path} {id}");
            assert_eq!(answer.body["parameter"], "id", "{path} {id}");
            assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
        }
        assert_eq!(admin.get(&format!("/admin/{path}/"), "").problem(), "not_found");
        assert_eq!(admin.get(&format!("/admin/{path}/a/b"), "").problem(), "not_found");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=1&limit=2",
        "after=",
        "after=3.0",
        "after=0.99999999999",
        "after=x",
        "user=x",
        "device=0",
        "device=128",
        "device=-1",
        "address=here",
        "stage=asleep",
        "speech=latin",
        "silent_ms=-5",
        "usr=00000000-0000-4000-8000-000000000000",
    ] {
        let answer = admin.get(&format!("/admin/connections?{query}"), "");
        // A parameter that there is is named; one that there is not is told what there is.
        let name = query.split('=').next().unwrap();
        let expected = if name == "usr" { "bad_request" } else { "bad_parameter" };
        assert_eq!(answer.problem(), expected, "{query}");
        if name != "usr" {
            assert_eq!(answer.body["parameter"], name, "{query}");
        }
    }
    let page = admin.get("/admin/connections?limit=1000&after=2.4294967295", "");
    assert_eq!((page.status, page.body), (200, serde_json::json!({"connections": []})));
}

#[test]
fn what_nobody_knows_is_unknown_and_what_somebody_may_know_is_not() {
    let admin = admin(None);
    let id = Uuid::new_v4();
    assert_eq!(admin.get(&format!("/admin/explain/{id}"), "").problem(), "unknown_message");
    assert_eq!(
        admin.get(&format!("/admin/users/{}", user(1).uuid()), "").problem(),
        "unknown_user"
    );

    // A worker that does not answer may have it under way.
    admin.workers.one_is_silent.store(true, SeqCst);
    assert_eq!(admin.get(&format!("/admin/explain/{id}"), "").problem(), "behind");
    assert_eq!(admin.get(&format!("/admin/users/{}", user(2).uuid()), "").problem(), "behind");
    let page = admin.get("/admin/connections?after=2.7", "");
    assert_eq!((page.status, page.problem()), (503, "overloaded"), "never as if it had none");

    // So may a store that is behind.
    admin.workers.one_is_silent.store(false, SeqCst);
    admin.rig.progress.on_durable(Position(1_000));
    let answer = admin.get(&format!("/admin/explain/{id}"), "");
    assert_eq!((answer.status, answer.problem()), (503, "behind"));
    assert!(answer.head.to_lowercase().contains("retry-after: 1"), "{}", answer.head);
}

#[test]
fn a_message_of_the_store_is_explained_although_a_home_is_silent_and_without_its_content() {
    let admin = admin(None);
    let content = b"a content that is nobody's business";
    admin.rig.message(7, user(1), user(2), content);
    let id = crate::rig::server_id(7).uuid();
    let told = admin.get(&format!("/admin/explain/{id}"), "");
    assert_eq!(told.status, 200, "{}", told.text);
    let story = &told.body["messages"][0];
    assert_eq!(story["id"], id.to_string());
    assert_eq!(story["received"]["bytes"], content.len());
    assert_eq!(story["sender"]["user"], user(1).uuid().to_string());
    assert_eq!(story["recipient"]["in_memory"], "absent");
    assert_eq!(told.body["unanswered"], serde_json::json!([]));
    assert!(!told.text.contains("business") && !told.text.contains("YSBjb250"), "{}", told.text);

    admin.workers.one_is_silent.store(true, SeqCst);
    let told = admin.get(&format!("/admin/explain/{id}"), "");
    assert_eq!(told.body["unanswered"], serde_json::json!([2]));
    assert_eq!(told.body["messages"][0]["recipient"]["in_memory"], "unknown");
}

#[test]
fn a_token_file_must_be_private_and_long_enough() {
    let (_dir, path) = token_file("0123456789abcdef\n", 0o644);
    assert!(matches!(AdminToken::read(&path), Err(AdminTokenError::File(_))));
    let (_dir, path) = token_file("short\n0123456789abcdef", 0o600);
    assert!(matches!(AdminToken::read(&path), Err(AdminTokenError::TooShort { .. })));
    let missing = path.with_extension("none");
    assert!(matches!(AdminToken::read(&missing), Err(AdminTokenError::File(_))));
}
