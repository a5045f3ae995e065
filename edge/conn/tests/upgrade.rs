//! The opening handshake: which requests become a WebSocket, which go to the REST service, and
//! how the others are answered.
//!
//! Setup: requests that differ from a good one in one thing. Action: feed them to a reader whole
//! and cut. Expectation: the same decision in every cut, the RFC's answers, memory within the
//! limit; and tungstenite's client is content with our answer.

mod http_client;

use std::io::{self, Cursor, Read, Write};

use http_client::*;
use proptest::prelude::*;
use ringpost_conn::http::{
    FIELDS_MAX, HEAD_BYTES_MAX, HeadReader, Origins, Rejection, Request, Subprotocol,
};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::ClientHandshake;

/// The decision in every cut.
fn check(request: &[u8], expected: Result<Decision, Rejection>) {
    assert_eq!(decide(request, &[]), expected);
    for cut in 0..=request.len() {
        assert_eq!(decide(request, &[cut]), expected, "cut at {cut}");
    }
    let octets: Vec<_> = (0..request.len()).collect();
    assert_eq!(decide(request, &octets), expected);
}

fn check_rejected(request: &[u8], rejection: Rejection) {
    check(request, Err(rejection));
}

fn check_rest(head: &[u8], surplus: &[u8]) {
    let expected = Decision::Rest { head: head.to_vec(), surplus: surplus.to_vec() };
    check(&[head, surplus].concat(), Ok(expected));
}

fn upgrade(subprotocol: Subprotocol, answer: &str) -> Decision {
    Decision::Upgrade { subprotocol, origin: None, answer: answer.to_owned(), surplus: Vec::new() }
}

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
                      Upgrade: websocket\r\n\
                      Connection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                      \r\n";

fn answer_naming(subprotocol: &str) -> String {
    format!("{}Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n", &ANSWER[..ANSWER.len() - 2])
}

#[test]
fn a_good_request_becomes_a_json_websocket() {
    check(&good().bytes(), Ok(upgrade(Subprotocol::Json, ANSWER)));
}

#[test]
fn names_and_tokens_are_without_case_and_lists_may_span_fields() {
    let request = good()
        .replace("Upgrade", "h2c, WebSocket")
        .replace("Connection", "keep-alive")
        .with("connection", "x ,\tUPGRADE")
        .bytes();
    check(&request, Ok(upgrade(Subprotocol::Json, ANSWER)));
}

#[test]
fn the_clients_first_known_subprotocol_is_chosen_and_named() {
    for (named, chosen) in [
        ("ringpost.v1.json", Subprotocol::Json),
        ("ringpost.v1.bin", Subprotocol::Binary),
        ("ringpost.v9.bin, ringpost.v1.bin, ringpost.v1.json", Subprotocol::Binary),
        (" ,ringpost.v1.json ,ringpost.v1.bin", Subprotocol::Json),
    ] {
        let request = good().with("Sec-WebSocket-Protocol", named).bytes();
        check(&request, Ok(upgrade(chosen, &answer_naming(chosen.name()))));
    }
    let request = good()
        .with("Sec-WebSocket-Protocol", "other")
        .with("Sec-WebSocket-Protocol", "ringpost.v1.bin")
        .bytes();
    check(&request, Ok(upgrade(Subprotocol::Binary, &answer_naming("ringpost.v1.bin"))));
}

#[test]
fn a_client_that_names_only_unknown_subprotocols_is_refused() {
    for named in ["", ",", "chat", "RINGPOST.V1.JSON", "ringpost.v1.json2"] {
        let request = good().with("Sec-WebSocket-Protocol", named).bytes();
        check_rejected(&request, Rejection::Subprotocol);
    }
}

#[test]
fn offered_extensions_are_not_taken() {
    let offer = "permessage-deflate; client_max_window_bits=99";
    let request = good().with("Sec-WebSocket-Extensions", offer).bytes();
    check(&request, Ok(upgrade(Subprotocol::Json, ANSWER)));
}

#[test]
fn bytes_behind_the_head_are_the_first_frames() {
    let frames = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let expected = Decision::Upgrade {
        subprotocol: Subprotocol::Json,
        origin: None,
        answer: ANSWER.to_owned(),
        surplus: frames.to_vec(),
    };
    check(&[&good().bytes()[..], frames].concat(), Ok(expected));
}

#[test]
fn any_other_request_goes_to_rest_untouched() {
    check_rest(b"GET /v1/messages?limit=5 HTTP/1.1\r\nHost: a\r\n\r\n", b"");
    check_rest(b"POST /v1/auth/code HTTP/1.1\r\nhost: a\r\nContent-Length: 2\r\n\r\n", b"{}");
    check_rest(b"OPTIONS /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n", b"");
    check_rest(b"GET /healthz HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n");
    check_rest(&good().target("/v1/ws/").bytes(), b"");
    check_rest(&good().target("/v1/messages").bytes(), b"");
}

#[test]
fn one_empty_line_in_front_of_a_request_is_skipped() {
    check_rest(b"\r\nGET /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n");
    let request = [b"\r\n", &good().bytes()[..]].concat();
    check(&request, Ok(upgrade(Subprotocol::Json, ANSWER)));
}

#[test]
fn an_upgrade_may_say_that_it_has_no_body() {
    let request = good().with("Content-Length", "0").bytes();
    check(&request, Ok(upgrade(Subprotocol::Json, ANSWER)));
}

#[test]
fn who_asks_for_no_websocket_where_one_is_opened_is_told_how() {
    check_rejected(b"GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n", Rejection::UpgradeRequired);
    check_rejected(b"GET /v1/ws?x HTTP/1.0\r\n\r\n", Rejection::UpgradeRequired);
    check_rejected(&good().replace("Upgrade", "h2c").bytes(), Rejection::UpgradeRequired);
}

#[test]
fn an_upgrade_is_checked_as_the_rfc_says() {
    let rejected = |request: Head, rejection| check_rejected(&request.bytes(), rejection);
    rejected(good().method("POST"), Rejection::Method);
    rejected(good().version("HTTP/1.0"), Rejection::HttpTooOld);
    rejected(good().without("Connection"), Rejection::Connection);
    rejected(good().replace("Connection", "keep-alive"), Rejection::Connection);
    rejected(good().replace("Connection", "upgraded"), Rejection::Connection);
    rejected(good().without("Sec-WebSocket-Version"), Rejection::WebSocketVersion);
    rejected(good().replace("Sec-WebSocket-Version", "8"), Rejection::WebSocketVersion);
    rejected(good().replace("Sec-WebSocket-Version", "13, 8"), Rejection::WebSocketVersion);
    rejected(good().with("Sec-WebSocket-Version", "13"), Rejection::WebSocketVersion);
    rejected(good().without("Sec-WebSocket-Key"), Rejection::Key);
    rejected(good().replace("Sec-WebSocket-Key", "c2hvcnQ="), Rejection::Key);
    rejected(good().with("Sec-WebSocket-Key", KEY), Rejection::Key);
}

#[test]
fn malformed_requests_and_other_versions_are_refused() {
    for (request, rejection) in [
        (&b"GET  HTTP/1.1\r\n\r\n"[..], Rejection::Malformed),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Rejection::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Rejection::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", Rejection::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Rejection::Malformed),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Rejection::Malformed),
        (b"GET /\r\n\r\n", Rejection::Malformed),
        (b"GET / HTTP/3.0\r\n\r\n", Rejection::HttpVersion),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Rejection::HttpVersion),
    ] {
        check_rejected(request, rejection);
    }
    assert_eq!(Rejection::Malformed.status(), 400);
    assert_eq!(Rejection::HttpVersion.status(), 505);
}

#[test]
fn every_refusal_is_a_problem_document_and_closes() {
    let retry_after = std::time::Duration::from_millis(1500);
    for rejection in Rejection::all(retry_after) {
        let mut response = Vec::new();
        rejection.write_response(false, &mut response);
        assert!(response.len() < 512);
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Response::new(&mut fields);
        let head = parsed.parse(&response).unwrap().unwrap();
        let body = std::str::from_utf8(&response[head..]).unwrap();
        let field = |name: &str| {
            let field = parsed.headers.iter().find(|field| field.name == name);
            field.map(|field| std::str::from_utf8(field.value).unwrap())
        };
        assert_eq!(parsed.code, Some(rejection.status()));
        assert!(field("Connection").unwrap().ends_with("close"));
        assert_eq!(field("Content-Type"), Some("application/problem+json"));
        assert_eq!(field("Content-Length"), Some(body.len().to_string().as_str()));
        let upgrade_required = rejection.status() == 426;
        assert_eq!(field("Upgrade"), upgrade_required.then_some("websocket"));
        assert_eq!(field("Sec-WebSocket-Version"), upgrade_required.then_some("13"));
        let (seconds, retry) = match rejection {
            Rejection::Overloaded { .. } => (Some("2"), r#"true,"retry_after_ms":1500"#),
            Rejection::TooSlow => (Some("0"), r#"true,"retry_after_ms":0"#),
            _ => (None, "false"),
        };
        assert_eq!(field("Retry-After"), seconds);
        let title = match rejection {
            Rejection::Method => "The method is not allowed here",
            Rejection::Overloaded { .. } => "The server is over a limit",
            _ => parsed.reason.unwrap(),
        };
        let expected = format!(
            r#"{{"type":"urn:ringpost:problem:{}","title":"{title}","status":{},"detail":"{rejection}","retry":{retry}}}"#,
            rejection.label(),
            rejection.status(),
        );
        assert_eq!(body, expected);
    }
}

#[test]
fn the_limits_of_a_head_themselves_pass() {
    let head = good().padded_to(HEAD_BYTES_MAX).bytes();
    assert_eq!(head.len(), HEAD_BYTES_MAX);
    assert!(matches!(decide(&head, &[1000]), Ok(Decision::Upgrade { .. })));
    let head = good().padded_to(HEAD_BYTES_MAX + 1).bytes();
    assert_eq!(decide(&head, &[1000]), Err(Rejection::HeadTooLarge));
    assert_eq!(decide(&head, &[]), Err(Rejection::HeadTooLarge));
    let without_end = &head[..HEAD_BYTES_MAX];
    assert_eq!(decide(without_end, &[1000]), Err(Rejection::HeadTooLarge), "no end can follow");

    let fields = |count: usize| {
        let head = good();
        let more = count - head.fields();
        (0..more).fold(head, |head, place| head.with(&format!("X-{place}"), "")).bytes()
    };
    assert!(matches!(decide(&fields(FIELDS_MAX), &[]), Ok(Decision::Upgrade { .. })));
    assert_eq!(decide(&fields(FIELDS_MAX + 1), &[]), Err(Rejection::TooManyFields));
}

/// Reads what is given, then would block; keeps what is written.
#[derive(Debug, Default)]
struct Wire {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_independent_client_is_content_with_the_answer() {
    for named in [None, Some("ringpost.v1.json"), Some("ringpost.v1.bin")] {
        let mut request = "ws://localhost:7400/v1/ws".into_client_request().unwrap();
        if let Some(named) = named {
            request.headers_mut().insert("Sec-WebSocket-Protocol", named.parse().unwrap());
        }
        let handshake = ClientHandshake::start(Wire::default(), request, None).unwrap();
        let Err(HandshakeError::Interrupted(mut waiting)) = handshake.handshake() else {
            panic!("the client waits for the answer");
        };
        let wire = waiting.get_mut().get_mut();
        let Decision::Upgrade { answer, .. } = decide(&wire.output, &[]).unwrap() else {
            panic!("it asked for a WebSocket");
        };
        wire.input = Cursor::new(answer.into_bytes());
        let (_, response) = waiting.handshake().expect("the client accepts");
        let chosen = response.headers().get("Sec-WebSocket-Protocol");
        assert_eq!(chosen.map(|chosen| chosen.to_str().unwrap()), named);
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_get_the_same_decision(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"\r\n :/aG".to_vec()), 0..300),
            Just(good().bytes()),
        ],
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = bytes;
        for (place, byte) in edits {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decide(&bytes, &cuts), decide(&bytes, &[]));
    }

    #[test]
    fn what_is_kept_is_bounded(pieces in prop::collection::vec(1usize..3000, 1..30)) {
        let mut reader = HeadReader::new();
        let mut fed = 0;
        for bytes in pieces {
            fed += bytes;
            match reader.feed(&vec![b'x'; bytes], &Origins::default()) {
                Ok(Request::Incomplete) => prop_assert!(fed < HEAD_BYTES_MAX),
                other => {
                    prop_assert_eq!(other, Err(Rejection::HeadTooLarge));
                    prop_assert!(fed >= HEAD_BYTES_MAX);
                    break;
                }
            }
            prop_assert!(reader.pinned_bytes() <= HEAD_BYTES_MAX.min(2 * fed));
        }
        prop_assert!(reader.pinned_bytes() <= HEAD_BYTES_MAX);
    }
}
