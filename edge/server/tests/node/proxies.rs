//! Setup: a node that trusts what connects from this host. Action: connections with a PROXY header
//! in front, requests with forwarded fields. Expectation: operators see whom these name, and nobody
//! is concerned by the limits of another; the rules themselves stand in the tests of the edge.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{Encoding, Peer, upgrade};
use crate::rig::{Node, exchange};

fn behind_header(node: &Node, header: &[u8], encoding: Encoding) -> Peer {
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.write_all(header).unwrap();
    Peer::shake_hands(stream, encoding)
}

fn connections(node: &Node, query: &str) -> Vec<Value> {
    let told = node.admin_get(&format!("/admin/connections?{query}"));
    let body = told.split_once("\r\n\r\n").map_or(told.as_str(), |(_, body)| body);
    let page: Value = serde_json::from_str(body).unwrap();
    page["connections"].as_array().unwrap().clone()
}

#[test]
fn every_transport_is_known_by_whom_a_trusted_proxy_names() {
    // Who is shown must be there still when it is looked for, on a busy machine as well.
    let settings = [
        "trusted_proxies=127.0.0.0/8",
        "limits.unauthenticated_per_address_max=2",
        "limits.auth_deadline=5m",
    ];
    let node = Node::start(&settings);
    let one = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 7400\r\n";
    let two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x02\x7f\0\0\x01\x12\x67\x1c\xe8";
    let mut held = Vec::new();
    for (header, address) in [(&one[..], "192.0.2.1"), (two, "192.0.2.2")] {
        held.push(behind_header(&node, header, Encoding::Tcp));
        held.push(behind_header(&node, header, Encoding::Json));
        let shown = || connections(&node, &format!("address={address}"));
        // The binary one has heard nothing that says that it is in.
        crate::rig::eventually("both are in", || shown().len() == 2);
        // A third stranger of the address is one too many.
        let mut third = TcpStream::connect(node.address).unwrap();
        third.write_all(&[header, b"RPP1"].concat()).unwrap();
        assert_eq!(crate::rig::rest_of(&mut third), "");
        let shown = shown();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().all(|row| row["address_from"] == json!("proxy_header")));
    }
    let mut streams = Vec::new();
    for address in ["192.0.2.3", "2001:db8::3"] {
        let mut stream = TcpStream::connect(node.address).unwrap();
        let request = upgrade(&format!("X-Forwarded-For: 6.6.6.6, {address}\r\n"));
        stream.write_all(request.as_bytes()).unwrap();
        streams.push(stream);
        crate::rig::eventually("the upgrade is shown", || {
            let shown = connections(&node, &format!("address={address}&stage=sign_in"));
            shown.len() == 1 && shown[0]["address_from"] == json!("forwarded")
        });
    }
    assert!(connections(&node, "address=6.6.6.6").is_empty());
    // A session signs in through all of it.
    drop(held);
    crate::rig::eventually("its place is free", || {
        connections(&node, "address=192.0.2.1").is_empty()
    });
    let user = Uuid::new_v4();
    let mut peer = behind_header(&node, one, Encoding::Bin);
    let token = node.token(user, 1);
    peer.say(&json!({"type": "hello", "token": token, "device": 1}));
    assert_eq!(peer.hear()["type"], json!("welcome"));
}

/// Half a body is a request under way: nobody else gives up a place for it, nor is kept out by it.
#[test]
fn one_caller_behind_a_proxy_takes_no_more_places_of_rest_than_its_own() {
    let settings = [
        "trusted_proxies=127.0.0.0/8",
        "rest.connections_max=6",
        "rest.connections_per_address_max=2",
        "rest.request_deadline=5m",
    ];
    let node = Node::start(&settings);
    let asks = |caller: &str, length: usize| {
        let mut stream = TcpStream::connect(node.address).unwrap();
        let request = format!(
            "POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {caller}\r\n\
             Content-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let hits = r#"ringpost_rest_limits_hit_total{limit="address_connections"}"#;
    let held: Vec<_> = (0..6).map(|_| asks("192.0.2.1", 50)).collect();
    crate::rig::eventually("four are refused", || node.metric(hits) == 4);
    let mut refused = 0;
    for mut stream in &held {
        stream.set_nonblocking(true).unwrap();
        let mut answer = [0; 12];
        if stream.read(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 503");
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
    for caller in ["192.0.2.2", "2001:db8::3"] {
        let answer = crate::rig::rest_of(&mut asks(caller, 2));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{caller}: {answer}");
    }
}

#[test]
fn a_proxy_that_is_not_trusted_is_not_heard() {
    let node = Node::start(&["trusted_proxies=192.0.2.0/24"]);
    let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 7400\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(node.address, header), "");
    let mut stream = TcpStream::connect(node.address).unwrap();
    let request = upgrade("X-Forwarded-For: 192.0.2.3\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    crate::rig::eventually("the upgrade is shown", || {
        connections(&node, "address=127.0.0.1&stage=sign_in").len() == 1
    });
    let ignored = r#"ringpost_edge_callers_named_total{by="ignored"}"#;
    crate::rig::eventually("it is counted", || node.metric(ignored) == 1);
    crate::rig::eventually("the log says so", || {
        node.log().lines().any(|it| it.contains("callers_named") && it.contains("ignored"))
    });
}
