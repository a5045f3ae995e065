//! A REST service with doubles, and a client that speaks HTTP/1.1 by hand.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use ringpost_conn::http::Origins;
use ringpost_conn::letter::Returned;
use ringpost_conn::{Caller, TrustedProxies};
use ringpost_server::auth::{TokenRules, TokenSigner, TokenVerifier, Verified};
use ringpost_server::clock::{MachineClock, NodeClock, wall_ms};
use ringpost_server::config::{Auth, Rest};
use ringpost_server::control::{Control, Doors};
use ringpost_server::rest::{
    CodeSender, Delivery, OneTimeCode, Progress, RestParts, RestService, Revoked,
};
use ringpost_shard::Position;
use ringpost_shard::event::WorkerId;
use ringpost_shard::record::{Advance, Head, MessageHead, ReadHead, Record};
use ringpost_store::accounts::{AccountKey, AccountTables};
use ringpost_store::engine::MemoryEngine;
use ringpost_store::{BatchBuilder, Store, Tables};
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
pub(crate) const PHONE: &str = "+491701234567";

/// The homes of users: says yes, and remembers.
#[derive(Default)]
pub(crate) struct Homes {
    pub(crate) revoked: Mutex<Vec<(UserId, DeviceId, u64)>>,
    pub(crate) removed: Mutex<Vec<(UserId, DeviceId)>>,
    pub(crate) created: Mutex<Vec<UserId>>,
    pub(crate) refuses: AtomicBool,
}

impl Control for Homes {
    fn revoke(&self, user: UserId, device: DeviceId, before_ms: u64) {
        self.revoked.lock().unwrap().push((user, device, before_ms));
    }

    fn remove_device(
        &self,
        user: UserId,
        device: DeviceId,
        before_ms: u64,
    ) -> oneshot::Receiver<bool> {
        self.revoke(user, device, before_ms);
        let (answer, answered) = oneshot::channel();
        let removes = !self.refuses.load(SeqCst);
        if removes {
            self.removed.lock().unwrap().push((user, device));
        }
        answer.send(removes).unwrap();
        answered
    }

    fn create_user(&self, user: UserId) -> oneshot::Receiver<bool> {
        self.created.lock().unwrap().push(user);
        let (answer, answered) = oneshot::channel();
        answer.send(!self.refuses.load(SeqCst)).unwrap();
        answered
    }
}

/// Workers that take nothing back.
struct NoDoors;

impl Doors for NoDoors {
    fn give_back(&self, _: WorkerId, returned: Returned) -> Result<(), Returned> {
        Err(returned)
    }
}

/// Phones of all people.
struct Phones(mpsc::Sender<OneTimeCode>);

impl CodeSender for Phones {
    fn deliver(&self, code: OneTimeCode) -> Delivery<'_> {
        // A test that is over no longer listens.
        let _ = self.0.send(code);
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) struct Rig {
    pub(crate) service: RestService,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) homes: Arc<Homes>,
    pub(crate) store: Arc<Tables<MemoryEngine>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) verifier: Arc<TokenVerifier>,
    signer: TokenSigner,
    codes: Mutex<mpsc::Receiver<OneTimeCode>>,
    position: Mutex<u64>,
}

pub(crate) fn rig() -> Rig {
    rig_with(Auth { requests_per_address_minute: 10_000, ..Auth::default() }, Rest::default())
}

pub(crate) fn rig_with(auth: Auth, rest: Rest) -> Rig {
    rig_of(auth, rest, Origins::default())
}

/// A rig that lets these pages read.
pub(crate) fn rig_for_pages(origins: &[&str]) -> Rig {
    let auth = Auth { requests_per_address_minute: 4, ..Auth::default() };
    rig_of(auth, Rest::default(), Origins::new(origins.iter().copied()).unwrap())
}

fn rig_of(auth: Auth, rest: Rest, origins: Origins) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let signer = ringpost_server::auth::Keys::open(dir.path(), 0).unwrap().signer;
    let rules = TokenRules { audience: auth.audience.clone(), clock_skew: auth.clock_skew };
    let verifier = Arc::new(TokenVerifier::new(&signer, &auth.issuer, rules));
    let store = Arc::new(Tables::open(MemoryEngine::new()).unwrap());
    let key = AccountKey::from_bytes(&[7; 32]);
    let homes = Arc::new(Homes::default());
    let progress = Arc::new(Progress::new(Position(0), |_| {}));
    let (phones, codes) = mpsc::channel();
    let clock = Arc::new(NodeClock::open(dir.path(), MachineClock::start(), ServerId::default()));
    let service = RestService::start(RestParts {
        rest,
        auth,
        verifier: Arc::clone(&verifier),
        signer: signer.clone(),
        revoked: Arc::new(Revoked::default()),
        accounts: Arc::new(AccountTables::open(MemoryEngine::new(), key).unwrap()),
        store: Arc::clone(&store) as Arc<dyn Store>,
        fence: Arc::clone(&progress) as _,
        control: Arc::clone(&homes) as _,
        clock: Arc::clone(&clock),
        code_sender: Arc::new(Phones(phones)),
        trusted_proxies: trusted_proxies(),
        doors: Arc::new(NoDoors),
        origins,
    })
    .unwrap();
    let position = Mutex::new(0);
    Rig {
        service,
        clock,
        homes,
        store,
        progress,
        verifier,
        signer,
        codes: Mutex::new(codes),
        position,
    }
}

/// Whose word about who calls the service takes.
fn trusted_proxies() -> TrustedProxies {
    TrustedProxies::new(["10.7.0.0/16"]).unwrap()
}

pub(crate) fn user(number: u8) -> UserId {
    UserId([number; 16])
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::new(number).unwrap()
}

/// Server ids that rise.
pub(crate) fn server_id(number: u64) -> ServerId {
    let mut id = [0x60; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    ServerId(id)
}

impl Rig {
    /// A good token of the user's device 1.
    pub(crate) fn token(&self, user: UserId) -> String {
        self.signer
            .sign("ringpost", "ringpost", (user, device(1)), wall_ms(), Duration::from_secs(60))
            .token
    }

    /// What a session's access token says.
    pub(crate) fn verified(&self, session: &Value) -> Verified {
        self.verifier.verify(session["access_token"].as_str().unwrap(), wall_ms()).unwrap()
    }

    /// A connection that the edge has handed over, after reading `already_read` from it.
    pub(crate) fn connect(&self, already_read: &[u8]) -> Client {
        self.connect_from(already_read, ADDRESS)
    }

    pub(crate) fn connect_from(&self, already_read: &[u8], peer: IpAddr) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        served.set_nonblocking(true).unwrap();
        let caller = Caller::of_socket(peer, &trusted_proxies());
        self.service.serve_stream(WorkerId(0), served, already_read.to_vec(), caller);
        Client::new(stream)
    }

    /// One request on a connection of its own.
    pub(crate) fn send(&self, request: &str) -> Answer {
        let mut client = self.connect(b"");
        client.send(request);
        client.answer()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_from(ADDRESS, path, body)
    }

    pub(crate) fn post_from(&self, peer: IpAddr, path: &str, body: &Value) -> Answer {
        let mut client = self.connect_from(b"", peer);
        client.send(&post_text(path, &body.to_string()));
        client.answer()
    }

    pub(crate) fn get(&self, path: &str, token: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
    }

    pub(crate) fn logout(&self, token: &str) -> Answer {
        self.send(&format!(
            "POST /v1/auth/logout HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 0\r\n\r\n"
        ))
    }

    /// Asks for a code; the request's name and the code that the phone got.
    pub(crate) fn ask_code(&self, phone: &str) -> (String, String) {
        let answer = self.post("/v1/auth/code", &json!({"phone": phone}));
        assert_eq!(answer.status, 202, "{answer:?}");
        let code = self.codes.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(code.phone, phone);
        let request = answer.body["request"].as_str().unwrap().to_owned();
        assert_eq!(code.request, request);
        (request, code.code)
    }

    /// The codes that were sent and that nobody has looked at yet.
    pub(crate) fn codes_sent(&self) -> Vec<OneTimeCode> {
        // What was answered is sent by a task behind the answer: a code that does not come within
        // this time was not sent.
        let patience = Duration::from_millis(200);
        let codes = self.codes.lock().unwrap();
        std::iter::from_fn(|| codes.recv_timeout(patience).ok()).collect()
    }

    /// Signs a device of the phone's owner in.
    pub(crate) fn sign_in(&self, phone: &str, device: u8) -> Value {
        let (request, code) = self.ask_code(phone);
        let body = json!({"request": request, "phone": phone, "code": code, "device": device});
        let answer = self.post("/v1/auth/verify", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub(crate) fn refresh(&self, session: &Value) -> Answer {
        let body = json!({"refresh_token": session["refresh_token"]});
        self.post("/v1/auth/refresh", &body)
    }

    /// Commits and applies one record.
    fn apply(&self, head: Head, body: Bytes) {
        let mut position = self.position.lock().unwrap();
        let mut builder = BatchBuilder::new(Position(*position));
        *position += 1;
        builder.push(Position(*position), &Arc::new(Record { head, body }));
        self.store.apply(&builder.finish()).unwrap();
        self.progress.on_durable(Position(*position));
        self.progress.on_applied(Position(*position));
    }

    /// Puts message `number` into the store.
    pub(crate) fn message(&self, number: u64, from: UserId, to: UserId, body: &[u8]) {
        self.message_of(number, number + 1_000_000, (from, to), body);
    }

    /// The same under a `message_id` of its own choice.
    pub(crate) fn message_named(&self, number: u64, name: u64, from: UserId, to: UserId) {
        self.message_of(number, name, (from, to), b"named");
    }

    fn message_of(&self, number: u64, name: u64, (from, to): (UserId, UserId), body: &[u8]) {
        let head = MessageHead {
            id: server_id(number),
            accepted_ms: number,
            message_id: MessageId(server_id(name).0),
            from,
            from_device: device(1),
            to,
            reply_to: (number == 2).then_some([9; 16]),
            client_timestamp_ms: 1_700_000_000_123 + number,
            plain: body.starts_with(b"plain"),
            digest: [0; 16],
            recipient_devices: DeviceSet::EMPTY,
            recipient_gaps: DeviceSet::EMPTY,
            sender_devices: DeviceSet::only(device(1)),
            copy_devices: DeviceSet::EMPTY,
            copy_gaps: DeviceSet::EMPTY,
        };
        self.apply(Head::Message(head), Bytes::copy_from_slice(body));
    }

    /// The reader has read all of the sender's messages up to `number`.
    pub(crate) fn read(&self, reader: UserId, sender: UserId, number: u64) {
        let advance = Advance {
            sender,
            sender_devices: DeviceSet::EMPTY,
            id: server_id(number),
            message_id: MessageId::default(),
        };
        let head = ReadHead { user: reader, device: device(1), at_ms: 1, advance };
        self.apply(Head::Read(head), Bytes::new());
    }
}

pub(crate) fn post_text(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// JSON, or null.
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    /// The last part of a problem's `type`.
    pub(crate) fn problem(&self) -> &str {
        let name = self.body["type"].as_str().unwrap_or_default();
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert_eq!(self.body["retry"], [429, 503].contains(&self.status), "{self:?}");
        name.strip_prefix("urn:ringpost:problem:").unwrap()
    }

    /// The ids of the messages in a page.
    pub(crate) fn ids(&self) -> Vec<ServerId> {
        let messages = self.body["messages"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let id = |message: &Value| message["id"].as_str().unwrap().parse::<Uuid>().unwrap();
        messages.iter().map(|message| ServerId::from(id(message))).collect()
    }
}

/// A client on one connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends, unless the server has closed the connection.
    pub(crate) fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    /// Ends its direction.
    pub(crate) fn shutdown_write(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Reads one answer; panics if the connection ends before.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        let head_end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.fill()?,
            }
        };
        let head = String::from_utf8(self.buffer.drain(..head_end).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let length: usize = length.unwrap_or(0);
        while self.buffer.len() < length {
            self.fill()?;
        }
        let text = String::from_utf8(self.buffer.drain(..length).collect()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Answer { status, head, body, text })
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.fill().is_none()
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&buffer[..count]);
                Some(())
            }
        }
    }
}
