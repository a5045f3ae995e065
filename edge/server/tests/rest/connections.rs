//! Connections: bytes already read, keep-alive, limits, deadlines, stop; abuse rows 2, 3 and 45
//! where REST meets them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ringpost_server::config::{Auth, Rest};
use serde_json::json;

use crate::rig::{ADDRESS, Client, PHONE, Rig, post_text, rig, rig_with, user};

/// Of somebody else.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));

#[test]
fn a_request_may_be_split_anywhere_between_the_edge_and_the_service() {
    let rig = rig();
    let request = post_text("/v1/auth/refresh", "{\"refresh_token\":\"x\"}");
    for cut in (0..=request.len()).step_by(7).chain([request.len()]) {
        let mut client = rig.connect(&request.as_bytes()[..cut]);
        client.send(&request[cut..]);
        assert_eq!(client.answer().problem(), "bad_refresh_token", "cut at {cut}");
    }
}

#[test]
fn a_connection_is_kept_for_further_requests() {
    let rig = rig();
    let token = rig.token(user(1));
    let request = format!(
        "GET /v1/messages?after= HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    // The edge may have read into the second request.
    let mut client = rig.connect(format!("{request}{}", &request[..10]).as_bytes());
    client.send(&request[10..]);
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 200);
    client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().problem(), "not_found");
    client.send("DELETE /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().problem(), "method_not_allowed");
    assert_eq!(rig.service.counters().refused("not_found"), 1);
}

#[test]
fn who_ends_its_direction_behind_a_request_is_answered() {
    let rig = rig();
    let token = rig.token(user(1));
    let request = format!(
        "GET /v1/messages?after= HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    for _ in 0..20 {
        let mut client = rig.connect(&request.as_bytes()[..10]);
        client.send(&request[10..]);
        client.shutdown_write();
        assert_eq!(client.answer().status, 200);
        assert!(client.is_closed());
    }
}

const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
/// A request that is busy until its deadline.
const BUSY: &str = "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Content-Length: 100\r\nExpect: 100-continue\r\n\r\n";

/// A connection whose request is being read.
fn busy(rig: &Rig, of: IpAddr) -> Client {
    let mut client = rig.connect_from(BUSY.as_bytes(), of);
    assert_eq!(client.answer().status, 100);
    client
}

#[test]
fn where_all_are_busy_one_connection_too_many_gets_503_and_the_others_go_on() {
    let rig = rig_with(Auth::default(), Rest { connections_max: 2, ..Rest::default() });
    let first = busy(&rig, ADDRESS);
    let _second = busy(&rig, ADDRESS);
    let mut third = rig.connect(NOWHERE.as_bytes());
    let answer = third.answer();
    assert_eq!((answer.status, answer.problem()), (503, "overloaded"));
    assert!(third.is_closed());
    drop(first);
    // The place comes free when the service has seen the end.
    let freed = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        let mut client = rig.connect(NOWHERE.as_bytes());
        client.answer().status == 404
    });
    assert!(freed);
}

#[test]
fn who_keeps_connections_or_sends_half_a_request_keeps_nobody_out() {
    let rig = rig_with(Auth::default(), Rest { connections_max: 4, ..Rest::default() });
    for held in [NOWHERE, "GET /nowhere HT"] {
        let mut holders: Vec<_> = (0..4).map(|_| rig.connect(held.as_bytes())).collect();
        if held == NOWHERE {
            holders.iter_mut().for_each(|it| assert_eq!(it.answer().status, 404));
        }
        for _ in 0..8 {
            let mut other = rig.connect_from(NOWHERE.as_bytes(), OTHER);
            assert_eq!(other.answer().status, 404);
        }
    }
}

#[test]
fn an_address_holds_no_more_connections_than_its_own() {
    let rest = Rest { connections_per_address_max: 2, ..Rest::default() };
    let rig = rig_with(Auth::default(), rest);
    let mut kept = rig.connect(NOWHERE.as_bytes());
    assert_eq!(kept.answer().status, 404);
    let _first = busy(&rig, ADDRESS);
    // The one that is kept gives way to another of its own.
    let _second = busy(&rig, ADDRESS);
    assert!(kept.is_closed());
    let mut refused = rig.connect(NOWHERE.as_bytes());
    assert_eq!((refused.answer().status, refused.is_closed()), (503, true));
    let mut neighbour = rig.connect_from(NOWHERE.as_bytes(), OTHER);
    assert_eq!(neighbour.answer().status, 404);
}

#[test]
fn a_slow_head_and_an_idle_connection_are_closed() {
    let soon = Duration::from_millis(200);
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let rig = rig_with(Auth::default(), Rest { header_deadline: soon, ..Rest::default() });
    let mut slow = rig.connect(b"GET / HT");
    assert_eq!(slow.answer().status, 408);
    assert!(slow.is_closed());
    // It is the deadline of the whole head, however it trickles, and of no connection without one.
    let mut kept = rig.connect(nowhere.as_bytes());
    assert_eq!(kept.answer().status, 404);
    std::thread::sleep(soon * 2);
    for byte in nowhere[..20].chars() {
        if kept.try_send(&byte.to_string()).is_err() {
            break;
        }
        std::thread::sleep(soon / 10);
    }
    assert!(kept.try_answer().is_none_or(|answer| answer.status == 408));

    let rig = rig_with(Auth::default(), Rest { idle_deadline: soon, ..Rest::default() });
    let mut idle = rig.connect(nowhere.as_bytes());
    assert_eq!(idle.answer().status, 404);
    assert!(idle.is_closed());
}

#[test]
fn a_websocket_that_no_worker_takes_back_is_refused() {
    let rig = rig();
    let mut client = rig.connect(b"");
    client.send(
        "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/ws HTTP/1.1\r\nHost: x\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.answer().status, 404);
    assert_eq!(client.answer().problem(), "overloaded");
    assert!(client.is_closed());
}

#[test]
fn a_body_that_never_comes_ends_at_the_deadline() {
    let rest = Rest { request_deadline: Duration::from_millis(200), ..Rest::default() };
    let rig = rig_with(Auth::default(), rest);
    let mut client = rig.connect(b"");
    client.send(
        "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{",
    );
    assert_eq!(client.answer().problem(), "overloaded");
}

#[test]
fn abuse_row_3_a_huge_head_is_refused() {
    let rig = rig();
    let mut client = rig.connect(b"");
    client.send(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(9 << 10)));
    assert_eq!(client.answer().status, 431);
    let mut client = rig.connect(b"");
    client.send(&format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100)));
    assert_eq!(client.answer().status, 431);
}

#[test]
fn abuse_row_45_two_lengths_or_a_length_beside_chunks_smuggle_nothing() {
    let rig = rig();
    let hidden = "POST /v1/auth/code HTTP/1.1\r\n";
    for framing in [
        "Content-Length: 2\r\nContent-Length: 40\r\n",
        "Content-Length: 2, 40\r\n",
        "Content-Length: +2\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        let mut client = rig.connect(b"");
        client.send(&format!(
            "POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             {framing}\r\n{{}}{hidden}"
        ));
        let answer = client.try_answer();
        assert!(answer.is_none_or(|answer| answer.status == 400), "{framing}");
        assert!(client.is_closed(), "{framing}");
    }
    // Chunks beat a length (RFC 9112 section 6.3), and the connection ends after that request.
    let mut client = rig.connect(b"");
    client.send(
        "POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n\
         GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    let status = client.try_answer().map(|answer| answer.status);
    assert_eq!(status, Some(400));
}

#[test]
fn a_stop_lets_requests_end_and_closes_idle_connections() {
    let rig = rig();
    let mut idle = rig.connect(b"");
    idle.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(idle.answer().status, 404);
    let body = json!({"phone": PHONE}).to_string();
    let text = post_text("/v1/auth/code", &body);
    let (head, rest) = text.split_at(text.len() - 3);
    let mut busy = rig.connect(head.as_bytes());
    // The service holds the request's head once it asks for the rest; a second connection's
    // answer shows that it has run since.
    let mut marker = rig.connect(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(marker.answer().status, 404);
    let service = rig.service;
    let stopping = std::thread::spawn(move || service.stop());
    assert!(idle.is_closed());
    busy.send(rest);
    assert_eq!(busy.try_answer().map(|answer| answer.status), Some(202));
    stopping.join().unwrap();
}
