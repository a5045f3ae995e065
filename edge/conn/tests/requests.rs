//! Requests of one connection, one behind another.
//!
//! Setup: a stream of requests with bodies of every kind. Action: feed it in any pieces. Expectation:
//! what REST may serve is the same bytes in every cut, and serving stops at the request that is not
//! REST's, wherever it stands, by the rules for a first one.

mod http_client;

use http_client::*;
use ringpost_conn::http::{Origins, Refusal, Rejection, Requests, Stop, Waits};

const GET: &str = "GET /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n";
const LENGTH: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET /v1/ws\n\n";
const CHUNKED: &str = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                       c\r\nGET /v1/ws\n\n\r\n0\r\nX: y\r\n\r\n";

/// What may be served of a stream in these pieces, and what stops it.
/// A page that may not open a WebSocket.
const FOREIGN: &str = "https://evil.example";

fn serve(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Stop>) {
    let mut requests = Requests::new(Some(Origins::default()));
    let mut served = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        if let Some(mut stop) = requests.feed(&stream[start..end], &mut served) {
            let (Stop::Upgrade { read } | Stop::Refused { goes_on: Some(read), .. }) = &mut stop
            else {
                return (served, Some(stop));
            };
            read.extend_from_slice(&stream[end..]);
            return (served, Some(stop));
        }
        start = end;
    }
    (served, None)
}

fn check(stream: &[u8], served: &[u8], stop: Option<&Stop>) {
    let octets: Vec<_> = (0..stream.len()).collect();
    let cuts = (0..=stream.len()).map(|cut| vec![cut]).chain([vec![], octets]);
    for cuts in cuts {
        let (bytes, found) = serve(stream, &cuts);
        assert_eq!(bytes, served, "{:?} at {cuts:?}", String::from_utf8_lossy(stream));
        assert_eq!(found.as_ref(), stop, "{:?} at {cuts:?}", String::from_utf8_lossy(stream));
    }
}

#[test]
fn what_is_rests_is_served_as_it_came() {
    for one in [GET, LENGTH, CHUNKED] {
        for other in [GET, LENGTH, CHUNKED] {
            let stream = [one, other, one].concat();
            check(stream.as_bytes(), stream.as_bytes(), None);
        }
    }
}

#[test]
fn an_upgrade_stops_it_wherever_it_stands() {
    for before in ["", GET, LENGTH, CHUNKED] {
        for behind in [&b""[..], b"\x81\x85frame", GET.as_bytes()] {
            let upgrade = [&good().bytes()[..], behind].concat();
            let stream = [before.as_bytes(), &upgrade].concat();
            check(&stream, before.as_bytes(), Some(&Stop::Upgrade { read: upgrade }));
        }
    }
}

#[test]
fn a_refusal_about_the_websocket_alone_lets_the_next_request_come() {
    let check_kept = |request: Head, rejection| {
        for behind in ["", GET] {
            let stream = [GET.as_bytes(), &request.bytes(), behind.as_bytes()].concat();
            let goes_on = Some(behind.as_bytes().to_vec());
            check(
                &stream,
                GET.as_bytes(),
                Some(&Stop::Refused { refusal: refusal(rejection), goes_on }),
            );
        }
    };
    check_kept(good().replace("Sec-WebSocket-Version", "8"), Rejection::WebSocketVersion);
    check_kept(good().with("Origin", FOREIGN), Rejection::Origin);
    check_kept(good().without("Upgrade"), Rejection::UpgradeRequired);
    check_kept(good().method("POST"), Rejection::Method);
}

#[test]
fn a_refused_head_is_known_for_one_wherever_it_is_cut() {
    for request in [good().method("HEAD").bytes(), b"HEAD / HTTP/1.1\nHost: a\n\n".to_vec()] {
        for cut in 0..request.len() {
            let mut requests = Requests::new(Some(Origins::default()));
            let mut served = Vec::new();
            let pieces = [&request[..cut], &request[cut..]];
            let stop = pieces.into_iter().find_map(|it| requests.feed(it, &mut served));
            let Some(Stop::Refused { refusal, .. }) = stop else { panic!("{stop:?}") };
            let mut answer = Vec::new();
            refusal.write_response(false, &mut answer);
            assert!(refusal.is_head && answer.ends_with(b"\r\n\r\n"), "cut at {cut}");
        }
    }
}

/// A refusal, with the page that stands in the requests here where that is what is refused.
fn refusal(rejection: Rejection) -> Refusal {
    let origin = (rejection == Rejection::Origin).then(|| FOREIGN.as_bytes().to_vec());
    Refusal { origin, ..rejection.into() }
}

#[test]
fn any_other_refusal_ends_the_connection() {
    let check_ends = |request: &[u8], rejection| {
        let stream = [GET.as_bytes(), request].concat();
        check(
            &stream,
            GET.as_bytes(),
            Some(&Stop::Refused { refusal: refusal(rejection), goes_on: None }),
        );
    };
    let closing = good().without("Sec-WebSocket-Version").replace("Connection", "Upgrade, close");
    check_ends(&closing.bytes(), Rejection::WebSocketVersion);
    check_ends(&good().with("Content-Length", "5").bytes(), Rejection::Body);
    check_ends(&good().version("HTTP/1.0").bytes(), Rejection::HttpTooOld);
    check_ends(&good().without("Host").bytes(), Rejection::Host);
    check_ends(b"GET / HTTP/1.1\nHost: a\n\n", Rejection::Malformed);
    check_ends(b"GARBAGE\r\n\r\n", Rejection::Malformed);
    let twice = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n";
    check_ends(twice.as_bytes(), Rejection::Malformed);
}

#[test]
fn a_chunk_that_another_reader_could_end_elsewhere_ends_the_connection() {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = format!("{head}5\nhello\r\n0\r\n\r\n");
    let (_, stop) = serve(stream.as_bytes(), &[]);
    assert_eq!(stop, Some(Stop::BadBody(Rejection::Malformed)));
}

#[test]
fn what_is_waited_for_is_known_at_every_byte() {
    let mut requests = Requests::new(None);
    let mut served = Vec::new();
    let head = LENGTH.len() - 12;
    for (place, byte) in LENGTH.bytes().enumerate() {
        let expected = match place {
            0 => Waits::Idle,
            place if place < head => Waits::Head,
            _ => Waits::Body,
        };
        assert_eq!(requests.waits(), expected, "at {place}");
        assert_eq!(requests.feed(&[byte], &mut served), None);
    }
    assert_eq!(requests.waits(), Waits::Idle);
}

#[test]
fn where_there_is_no_websocket_every_good_request_is_served() {
    let mut requests = Requests::new(None);
    let mut served = Vec::new();
    let stream = [&good().bytes()[..], GET.as_bytes()].concat();
    assert_eq!(requests.feed(&stream, &mut served), None);
    assert_eq!(served, stream);
}
