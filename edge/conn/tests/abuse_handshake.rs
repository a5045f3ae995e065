//! Abuse before the first message, by the numbers of the catalogue of hostile input.
//!
//! Setup: sniffer, head reader and timer wheel as the owner of a connection wires them. Action:
//! the bad input. Expectation: the right answer or none, within the deadline and the memory.

mod http_client;

use std::time::Duration;

use http_client::*;
use ringpost_conn::http::{
    FIELDS_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HeadReader, Origins, Rejection, Request,
};
use ringpost_conn::sniff::{Protocol, Sniffer, Verdict};
use ringpost_conn::timer::{TICK, TimerWheel};
use ringpost_conn::websocket::{Decoder, Limits, Received, Violation};

#[test]
fn abuse_row_02_a_head_that_trickles_ends_at_the_deadline_of_the_whole() {
    let head = good().bytes();
    let mut reader = HeadReader::new();
    let mut now = Duration::from_secs(100);
    let deadline = now + HEAD_TIME_MAX;
    let mut wheel = TimerWheel::new(1, now);
    wheel.schedule(0, deadline);
    // One byte in two seconds; none of them moves the deadline.
    let mut bytes = 0;
    let rejection = loop {
        if wheel.poll_expired(now).is_some() {
            break Rejection::TooSlow;
        }
        let piece = &head[bytes..bytes + 1];
        assert_eq!(reader.feed(piece, &Origins::default()), Ok(Request::Incomplete));
        bytes += 1;
        now += Duration::from_secs(2);
    };
    assert!(now - deadline < Duration::from_secs(2) + TICK);
    assert_eq!(bytes, 3);
    assert!(reader.pinned_bytes() <= 2 * bytes);
    assert_eq!(rejection.status(), 408);
}

#[test]
fn abuse_row_03_a_megabyte_of_fields_is_refused_at_the_limit() {
    let head = good().padded_to(1 << 20).bytes();
    assert_eq!(decide(&head, &[]), Err(Rejection::HeadTooLarge));
    assert_eq!(Rejection::HeadTooLarge.status(), 431);

    let mut reader = HeadReader::new();
    let (mut fed, mut verdict) = (0, Ok(Request::Incomplete));
    for piece in head.chunks(1000) {
        fed += piece.len();
        verdict = reader.feed(piece, &Origins::default());
        if verdict.is_err() {
            break;
        }
    }
    assert_eq!(verdict, Err(Rejection::HeadTooLarge));
    assert_eq!(fed, 9000, "refused with the piece that reaches {HEAD_BYTES_MAX}");
    assert!(reader.pinned_bytes() <= HEAD_BYTES_MAX);
}

#[test]
fn abuse_row_03_ten_thousand_fields_are_refused() {
    let many = |count| (0..count).fold(good(), |head, _| head.with("a", "")).bytes();
    assert_eq!(decide(&many(10_000), &[]), Err(Rejection::HeadTooLarge));
    // As many as fit the bytes are still too many.
    assert!(many(1000).len() < HEAD_BYTES_MAX);
    assert_eq!(decide(&many(1000), &[]), Err(Rejection::TooManyFields));
    assert_eq!(decide(&many(FIELDS_MAX), &[]), Err(Rejection::TooManyFields));
    assert_eq!(Rejection::TooManyFields.status(), 431);
}

#[test]
fn abuse_row_17_garbage_and_tls_are_known_for_what_they_are_and_get_no_answer() {
    for (bytes, protocol) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], Protocol::Tls),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Protocol::Proxy),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Protocol::Proxy),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Protocol::Unknown),
        (b"\x00\x00\x00\x00", Protocol::Unknown),
        (b"\xff\xfb\x01", Protocol::Unknown),
        (b"RPP0", Protocol::Unknown),
        (b"hello\r\n", Protocol::Unknown),
    ] {
        let verdict = Verdict::Decided { protocol, consumed: 0 };
        assert_eq!(Sniffer::new().feed(bytes), verdict);
        let mut sniffer = Sniffer::new();
        let mut by_octets = bytes.iter().map(|byte| sniffer.feed(&[*byte]));
        assert_eq!(by_octets.find(|octet| *octet != Verdict::Undecided), Some(verdict));
    }
}

#[test]
fn abuse_row_17_a_request_of_http_on_the_same_port_is_http() {
    let decided = Verdict::Decided { protocol: Protocol::Http, consumed: 0 };
    assert_eq!(Sniffer::new().feed(&good().bytes()), decided);
}

#[test]
fn abuse_row_45_a_foreign_page_is_refused_and_no_page_passes_by_default() {
    let origins = Origins::new(["https://app.example.com"]).unwrap();
    let from = |origin: &str| good().with("Origin", origin).bytes();
    match decide_from(&from("https://app.example.com"), &[], &origins) {
        Ok(Decision::Upgrade { origin, .. }) => {
            assert_eq!(origin.as_deref(), Some("https://app.example.com"));
        }
        other => panic!("{other:?}"),
    }
    for foreign in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "http://chat.example:7400",
        "null",
        "",
        "https://app.example.com, https://evil.example",
    ] {
        let decision = decide_from(&from(foreign), &[], &origins);
        assert_eq!(decision, Err(Rejection::Origin), "{foreign}");
    }
    let twice = good()
        .with("Origin", "https://app.example.com")
        .with("Origin", "https://app.example.com")
        .bytes();
    assert_eq!(decide_from(&twice, &[], &origins), Err(Rejection::Origin));
    assert_eq!(decide(&from("https://app.example.com"), &[]), Err(Rejection::Origin));
    assert_eq!(Rejection::Origin.status(), 403);
}

#[test]
fn abuse_row_45_exactly_one_valid_host() {
    for request in [
        good().without("Host"),
        good().with("Host", "other.example"),
        good().with("host", "chat.example:7400"),
        good().replace("Host", ""),
        good().replace("Host", "a b"),
        good().replace("Host", "chat.example, other.example"),
        good().replace("Host", "user@chat.example"),
        good().replace("Host", "chat.example/v1/ws"),
        good().without("Host").target("/v1/messages"),
        good().with("Host", "other.example").target("/v1/messages"),
    ] {
        assert_eq!(decide(&request.bytes(), &[]), Err(Rejection::Host));
    }
    assert_eq!(Rejection::Host.status(), 400);
}

#[test]
fn abuse_row_45_an_upgrade_that_announces_a_body_is_refused() {
    for request in
        [good().with("Content-Length", "44"), good().with("Transfer-Encoding", "chunked")]
    {
        let smuggled = b"GET /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes = [&request.bytes()[..], smuggled].concat();
        assert_eq!(decide(&bytes, &[]), Err(Rejection::Body));
    }
    assert_eq!(Rejection::Body.status(), 400);
}

#[test]
fn abuse_row_45_a_body_of_two_lengths_is_refused_whoever_the_request_is_for() {
    for target in ["/v1/ws", "/v1/messages"] {
        let good = || good().target(target);
        for request in [
            good().with("content-length", "44").with("Content-Length", "0"),
            good().with("Content-Length", "0").with("Content-Length", "0"),
            good().with("Content-Length", "0, 0"),
            good().with("Content-Length", "+1"),
            good().with("Content-Length", "-1"),
            good().with("Content-Length", "0x1"),
            good().with("Content-Length", ""),
            good().with("Content-Length", "99999999999999999999"),
            good().with("Transfer-Encoding", "identity").with("Content-Length", "3"),
            good().with("Transfer-Encoding", "chunked").with("Content-Length", "0"),
            good().with("Transfer-Encoding", "chunked, chunked"),
            good().with("Transfer-Encoding", "chunked").with("transfer-encoding", "chunked"),
            good().with("Transfer-Encoding", "gzip, chunked"),
            good().with("Transfer-Encoding", "xchunked"),
            good().with("Transfer-Encoding", "chunked").version("HTTP/1.0"),
        ] {
            assert_eq!(decide(&request.bytes(), &[]), Err(Rejection::Malformed));
        }
    }
}

#[test]
fn abuse_row_45_a_second_request_behind_an_upgrade_is_never_a_request() {
    let second = b"GET /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = [&good().bytes()[..], second].concat();
    let Ok(Decision::Upgrade { subprotocol, mut surplus, .. }) = decide(&bytes, &[]) else {
        panic!("the upgrade itself is good");
    };
    assert_eq!(surplus, second);
    // Its bytes are frames, and the first of them is none.
    let limits = Limits::new(subprotocol.accepts(), 1000);
    let mut input = Received::new(&mut surplus);
    let verdict = Decoder::new().decode(&mut input, &limits, Duration::ZERO).map(|_| ());
    assert_eq!(verdict, Err(Violation::ReservedBit));
}

#[test]
fn abuse_row_45_ambiguous_heads_are_refused() {
    for request in [
        &b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade : websocket\r\n\r\n"[..],
        b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n Connection: Upgrade\r\n\r\n",
        b"GET /v1/ws HTTP/1.1\nHost: a\nUpgrade: websocket\n\n",
        b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nX: y\nUpgrade: websocket\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\nHost: a\r\n\n",
        b"GET /v1/messages HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n",
        b"\nGET /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 5\r\n\r\n",
    ] {
        assert_eq!(decide(request, &[]), Err(Rejection::Malformed));
    }
}
