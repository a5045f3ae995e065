//! Setup: a server that wrote down another date than its wall clock shows, as after a jump or a
//! long rest. Action: it starts; an operator says that the clock is right. Expectation: it serves,
//! says that the clock is in doubt until then, and a restart remembers the word.

use std::fs;

use ringpost_server::clock::wall_ms;
use serde_json::Value;

use crate::rig::{Node, eventually, exchange};

const IN_DOUBT: &str = "ringpost_clock_in_doubt";

/// How the clock stands, as `/readyz` says.
fn standing(node: &Node) -> String {
    let answer = node.admin_get("/readyz");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    told["facts"]["clock"].as_str().unwrap_or_default().to_owned()
}

fn trust(node: &Node, headers: &str) -> String {
    let length = "Content-Length: 0\r\nConnection: close";
    let request =
        format!("POST /admin/clock/trust HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n\r\n");
    exchange(node.admin, request.as_bytes())
}

#[test]
fn a_clock_that_does_not_agree_with_the_life_before_waits_for_an_operators_word() {
    let mut node = Node::start(&[]);
    let file = node.data_dir().join("clock");
    eventually("a new node believes its clock", || standing(&node) == "believed" && file.exists());
    node.kill();
    for other_ms in [wall_ms() - 400 * 24 * 3_600 * 1_000, wall_ms() + 7_200_000] {
        let digits = other_ms.to_string();
        fs::write(&file, format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))).unwrap();
        node.start_again();
        eventually("doubt", || standing(&node).starts_with("in doubt: "));
        assert_eq!(node.metric(IN_DOUBT), 1);
        let line = "the wall clock is not where it should be";
        eventually("it is in the log", || node.log().contains(line));
        assert!(
            node.admin_get("/admin/clock/trust").starts_with("HTTP/1.1 405"),
            "a word is a POST"
        );
        let from_a_page = trust(&node, "\r\nOrigin: https://evil.example");
        assert!(from_a_page.starts_with("HTTP/1.1 400"), "{from_a_page}");
        assert_eq!(node.metric(IN_DOUBT), 1);

        let answer = trust(&node, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        eventually("trust", || standing(&node) == "believed" && node.metric(IN_DOUBT) == 0);
        let text = || fs::read_to_string(&file).unwrap();
        let written = || text().split(' ').next().unwrap().parse::<u64>().unwrap();
        eventually("the word is written down", || written().abs_diff(wall_ms()) < 120_000);
        node.kill();
        node.start_again();
        eventually("a restart remembers it", || standing(&node) == "believed");
        node.kill();
    }
}
