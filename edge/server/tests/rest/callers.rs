//! Setup: kept connections of a trusted proxy, and of others. Action: each request names its caller,
//! truly or not. Expectation: the rate of an address is the named caller's, of IPv6 that of its /64,
//! and who is not trusted is counted by the address that connects.

use std::net::IpAddr;

use ringpost_server::config::{Auth, Rest};

use crate::rig::{ADDRESS, Client, Rig, rig_with};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 7, 0, 1));

fn rig() -> Rig {
    rig_with(Auth { requests_per_address_minute: 2, ..Auth::default() }, Rest::default())
}

/// Whether requests with these fields pass the rate, one behind the other on one connection.
fn passed(client: &mut Client, fields: &[&str]) -> Vec<bool> {
    let body = "{\"refresh_token\":\"x\"}";
    let mut ask = |field: &str| {
        client.send(&format!(
            "POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             {field}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer().problem() == "bad_refresh_token"
    };
    fields.iter().map(|field| ask(field)).collect()
}

#[test]
fn each_request_of_a_proxys_connection_counts_for_whom_it_names() {
    let rig = rig();
    let mut client = rig.connect_from(b"", PROXY);
    let one = "X-Forwarded-For: 192.0.2.1";
    assert_eq!(passed(&mut client, &[one, one, one]), [true, true, false]);
    // A lie in front changes nothing, neither does another connection, or the standard field.
    let mut another = rig.connect_from(b"", PROXY);
    let lies = ["X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.7.0.2", "Forwarded: for=\"192.0.2.1:80\""];
    assert_eq!(passed(&mut another, &lies), [false, false]);
    let others: Vec<String> = (2..40).map(|n| format!("X-Forwarded-For: 192.0.2.{n}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    assert!(passed(&mut client, &others).iter().all(|passed| *passed), "nobody else is concerned");
    let six = ["1", "2", "ffff:1"].map(|host| format!("Forwarded: for=\"[2001:db8::{host}]\""));
    let six = six.each_ref().map(String::as_str);
    assert_eq!(passed(&mut client, &six), [true, true, false], "a /64 is one address");
}

#[test]
fn who_names_nobody_or_two_shares_the_limit_of_the_proxy() {
    let rig = rig();
    let mut client = rig.connect_from(b"", PROXY);
    let two = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2";
    let fields = ["Accept: */*", two, "X-Forwarded-For: unknown", "X-Forwarded-For: 192.0.2.1"];
    assert_eq!(passed(&mut client, &fields), [true, true, false, true]);
}

#[test]
fn fields_of_who_is_not_trusted_are_not_read() {
    let rig = rig();
    let mut client = rig.connect_from(b"", ADDRESS);
    let fields = ["1", "2", "3"].map(|host| format!("X-Forwarded-For: 192.0.2.{host}"));
    let fields = fields.each_ref().map(String::as_str);
    assert_eq!(passed(&mut client, &fields), [true, true, false]);
}
