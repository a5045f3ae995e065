//! `GET /v1/messages`: shape, paging, status, and whose conversations; abuse row 27.

use std::time::Duration;

use ringpost_shard::Position;
use serde_json::json;

use crate::rig::{Rig, rig, server_id, user};

/// Alice (1) and Bob (2) talk, Bob and Carol (3) as well.
fn talk() -> Rig {
    let rig = rig();
    let (alice, bob, carol) = (user(1), user(2), user(3));
    for number in 1..=10 {
        let (from, to) = if number % 2 == 1 { (alice, bob) } else { (bob, alice) };
        rig.message(number, from, to, &[number as u8; 3]);
    }
    rig.message(11, bob, carol, b"secret of bob and carol");
    rig.message(12, carol, bob, b"plain answer");
    rig
}

#[test]
fn a_page_has_the_documented_shape() {
    let rig = talk();
    rig.read(user(1), user(2), 4);
    let answer = rig.get(&format!("/v1/messages?user_id={}&limit=9", user(1)), &rig.token(user(2)));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("cache-control: no-store"));
    assert_eq!(answer.body["has_more"], true);
    let second = &answer.body["messages"][8];
    assert_eq!(
        *second,
        json!({
            "id": server_id(2).to_string(),
            "message_id": server_id(1_000_002).to_string(),
            "from": user(2).to_string(),
            "from_device": 1,
            "to": user(1).to_string(),
            "encrypted_content": "AgIC",
            "timestamp": 1_700_000_000,
            "timestamp_ms": 1_700_000_000_125_u64,
            "reply_to": "09090909-0909-0909-0909-090909090909",
            "status": "read",
        })
    );
    // Alice has read up to 4; her own messages and the later ones were only sent.
    let statuses: Vec<&str> = answer.body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["status"].as_str().unwrap())
        .collect();
    let sent = "sent";
    assert_eq!(statuses, [sent, sent, sent, sent, sent, sent, "read", sent, "read"]);
}

#[test]
fn plain_content_stands_as_text() {
    let rig = talk();
    let path = format!("/v1/messages?user_id={}&limit=1", user(3));
    let answer = rig.get(&path, &rig.token(user(2)));
    assert_eq!(answer.body["messages"][0]["content"], "plain answer");
    assert!(answer.body["messages"][0].get("encrypted_content").is_none());
}

#[test]
fn paging_backwards_meets_every_message_once() {
    let rig = talk();
    let token = rig.token(user(1));
    for limit in [1, 3, 10, 200] {
        let mut path = format!("/v1/messages?user_id={}&limit={limit}", user(2));
        let mut seen = Vec::new();
        loop {
            let answer = rig.get(&path, &token);
            let ids = answer.ids();
            assert!(ids.len() <= limit);
            seen.extend(ids);
            // What the page names is where the same parameter goes on.
            let next = answer.body["next"].as_str();
            assert_eq!(answer.body["has_more"], next.is_some(), "{answer:?}");
            let Some(next) = next else { break };
            path = format!("/v1/messages?user_id={}&limit={limit}&before={next}", user(2));
        }
        let expected: Vec<_> = (1..=10).rev().map(server_id).collect();
        assert_eq!(seen, expected, "limit {limit}");
    }
}

#[test]
fn after_follows_all_of_ones_conversations_without_loss() {
    let rig = talk();
    let token = rig.token(user(2));
    for limit in [1, 5, 200] {
        let mut cursor = String::new();
        let mut seen = Vec::new();
        loop {
            let answer = rig.get(&format!("/v1/messages?after={cursor}&limit={limit}"), &token);
            seen.extend(answer.ids());
            cursor = answer.body["next"].as_str().unwrap().to_owned();
            if answer.body["has_more"] == false {
                break;
            }
        }
        assert_eq!(seen, (1..=12).map(server_id).collect::<Vec<_>>(), "limit {limit}");
        // Nothing new yet; then what comes is found from the same cursor.
        let path = format!("/v1/messages?after={cursor}");
        assert!(rig.get(&path, &token).ids().is_empty());
    }
    let end = rig.get("/v1/messages?after=", &token).body["next"].as_str().unwrap().to_owned();
    rig.message(13, user(1), user(2), b"later");
    let news = rig.get(&format!("/v1/messages?after={end}"), &token);
    assert_eq!(news.ids(), [server_id(13)]);
    // A page backwards tells where what comes later goes on as well.
    let path = format!("/v1/messages?user_id={}", user(1));
    let after = rig.get(&path, &token).body["after"].as_str().unwrap().to_owned();
    rig.message(14, user(2), user(1), b"latest");
    assert_eq!(rig.get(&format!("/v1/messages?after={after}"), &token).ids(), [server_id(14)]);
    // With a peer, only that conversation.
    let path = format!("/v1/messages?after=&user_id={}", user(3));
    assert_eq!(rig.get(&path, &token).ids(), [server_id(11), server_id(12)]);
}

#[test]
fn a_message_is_named_by_either_id_in_both_directions() {
    let rig = talk();
    let token = rig.token(user(1));
    let get = |query: &str| rig.get(&format!("/v1/messages?{query}"), &token);
    let (alice, bob) = (user(1), user(2));
    for id in [server_id(4), server_id(1_000_004)] {
        let older = get(&format!("user_id={bob}&before={id}"));
        assert_eq!(older.ids(), [3, 2, 1].map(server_id), "{older:?}");
        let newer = (5..=10).map(server_id).collect::<Vec<_>>();
        assert_eq!(get(&format!("user_id={bob}&after={id}")).ids(), newer);
        assert_eq!(get(&format!("after={id}")).ids(), newer);
    }
    // What is neither, and what is another's, is refused alike, and the parameter is named.
    let unknown = get(&format!("user_id={bob}&before={}", server_id(77))).text;
    for id in [server_id(11), server_id(1_000_011), server_id(12)] {
        for (name, query) in [("before", format!("user_id={bob}&")), ("after", String::new())] {
            let refused = get(&format!("{query}{name}={id}"));
            assert_eq!((refused.status, refused.problem()), (400, "bad_parameter"));
            assert_eq!(refused.body["parameter"], name, "{refused:?}");
            assert_eq!(refused.text.replace("after", "before"), unknown, "{refused:?}");
        }
    }
    // Of another conversation of one's own: not of this one.
    let bobs = rig.token(bob);
    let path = format!("/v1/messages?user_id={alice}&before={}", server_id(11));
    assert_eq!(rig.get(&path, &bobs).problem(), "bad_parameter");
    assert_eq!(
        rig.get(&format!("/v1/messages?after={}", server_id(11)), &bobs).ids(),
        [server_id(12)]
    );
}

#[test]
fn a_message_id_that_both_sides_used_names_none() {
    let rig = rig();
    let (alice, bob) = (user(1), user(2));
    rig.message_named(1, 500, alice, bob);
    rig.message_named(2, 500, bob, alice);
    rig.message_named(3, 500, user(3), bob);
    let path = format!("/v1/messages?user_id={bob}&before={}", server_id(500));
    let refused = rig.get(&path, &rig.token(alice));
    assert_eq!(refused.problem(), "bad_parameter");
    assert!(refused.body["detail"].as_str().unwrap().contains("name the `id`"), "{refused:?}");
    // Those of other conversations do not count.
    let path = format!("/v1/messages?user_id={bob}&before={}", server_id(500));
    assert_eq!(rig.get(&path, &rig.token(user(3))).ids(), []);
}

#[test]
fn a_page_of_large_messages_is_cut_by_bytes_and_goes_on() {
    let rig = rig();
    let body = vec![7; 64 << 10];
    for number in 1..=40 {
        rig.message(number, user(1), user(2), &body);
    }
    let token = rig.token(user(1));
    let path = format!("/v1/messages?user_id={}&limit=200", user(2));
    let first = rig.get(&path, &token);
    assert_eq!(first.ids().len(), 16, "one mebibyte");
    assert_eq!(first.body["has_more"], true);
    let next = first.body["next"].as_str().unwrap();
    let second = rig.get(&format!("{path}&before={next}"), &token);
    assert_eq!(second.ids()[0], server_id(24));
    let after = rig.get("/v1/messages?after=&limit=200", &token);
    assert_eq!((after.ids().len(), after.body["has_more"].clone()), (16, json!(true)));
    let next = after.body["next"].as_str().unwrap();
    let after = rig.get(&format!("/v1/messages?after={next}&limit=200"), &token);
    assert_eq!(after.ids()[0], server_id(17));
}

#[test]
fn a_read_waits_for_what_was_sent_and_gives_up_with_503() {
    let rig = talk();
    let token = rig.token(user(1));
    let path = format!("/v1/messages?user_id={}", user(2));
    rig.progress.on_durable(Position(1_000));
    let late = rig.get(&path, &token);
    assert_eq!((late.status, late.problem()), (503, "behind"));
    assert_eq!(late.body["retry_after_ms"], 1_000);
    rig.progress.on_durable(Position(1_001));
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.get(&path, &token));
        std::thread::sleep(Duration::from_millis(50));
        rig.progress.on_applied(Position(1_001));
        waiting.join().unwrap()
    });
    assert_eq!(answer.status, 200);
}

#[test]
fn abuse_row_27_nobody_reads_a_conversation_that_is_not_ones_own() {
    let rig = talk();
    let alice = rig.token(user(1));
    let foreign = [user(2), user(3), user(4)].map(|id| id.to_string());
    // Every verb, every foreign id, in every parameter that takes an id.
    for verb in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for id in &foreign {
            for path in [
                format!("/v1/messages?user_id={id}"),
                format!("/v1/messages?after=&user_id={id}"),
                format!("/v1/messages?user_id={id}&before={}", server_id(12)),
                format!("/v1/messages?user_id={id}&before={}", server_id(11)),
                format!("/v1/messages/{}", server_id(11)),
                format!("/v1/users/{id}/messages"),
            ] {
                let mut client = rig.connect(b"");
                client.send(&format!(
                    "{verb} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice}\r\n\
                     Connection: close\r\nContent-Length: 0\r\n\r\n"
                ));
                // HEAD has a length and no body: then the connection just ends.
                let Some(answer) = client.try_answer() else { continue };
                assert!(!answer.text.contains("c2VjcmV0"), "{verb} {path}: {answer:?}");
                assert!(!answer.text.contains("plain answer"), "{verb} {path}: {answer:?}");
                for message in answer.body["messages"].as_array().into_iter().flatten() {
                    let mine = json!(user(1).to_string());
                    assert!(message["from"] == mine || message["to"] == mine, "{message}");
                }
                if verb != "GET" {
                    assert!([404, 405].contains(&answer.status), "{verb} {path}: {answer:?}");
                }
            }
        }
    }
    // Two parameters of one name: refused, neither is chosen.
    let path = format!("/v1/messages?user_id={}&user_id={}", user(2), user(3));
    assert_eq!(rig.get(&path, &alice).problem(), "bad_parameter");
}

#[test]
fn abuse_row_27_who_exists_and_who_does_not_look_alike() {
    let rig = talk();
    let alice = rig.token(user(1));
    let stranger = rig.get(&format!("/v1/messages?user_id={}", user(3)), &alice);
    let nobody = rig.get(&format!("/v1/messages?user_id={}", user(99)), &alice);
    assert_eq!(stranger.status, 200);
    assert_eq!(stranger.text, nobody.text);
}

#[test]
fn without_a_good_token_there_is_nothing() {
    let rig = talk();
    let path = format!("/v1/messages?user_id={}", user(2));
    let good = rig.token(user(1));
    for token in ["", "x", "a.b.c", &good[..good.len() - 1]] {
        let answer = rig.get(&path, token);
        assert_eq!((answer.status, answer.problem()), (401, "unauthorized"), "{token}");
        assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"));
    }
    let none = rig.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(none.problem(), "unauthorized");
    let query = rig.send(&format!("GET {path}&access_token={good} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(query.problem(), "unauthorized", "a token in a URL ends up in logs");
}

#[test]
fn bad_parameters_are_named_and_answered_with_what_is_allowed() {
    let rig = talk();
    let token = rig.token(user(1));
    let peer = user(2);
    for (query, problem, parameter) in [
        (String::new(), "missing_parameter", "user_id"),
        ("user_id=bob".to_owned(), "bad_parameter", "user_id"),
        (format!("user_id={peer}&limit=0"), "bad_parameter", "limit"),
        (format!("user_id={peer}&limit=201"), "bad_parameter", "limit"),
        (format!("user_id={peer}&limit=many"), "bad_parameter", "limit"),
        (format!("user_id={peer}&before=1"), "bad_parameter", "before"),
        (format!("user_id={peer}&before="), "bad_parameter", "before"),
        (format!("user_id={peer}&before={}&after=", server_id(1)), "bad_parameter", "after"),
        (format!("user_id={peer}&after=garbage"), "bad_parameter", "after"),
        (format!("before={}", server_id(1)), "missing_parameter", "user_id"),
    ] {
        let answer = rig.get(&format!("/v1/messages?{query}"), &token);
        assert_eq!(answer.problem(), problem, "{query}");
        assert_eq!(answer.body["parameter"], parameter, "{query}");
        assert!(answer.body["detail"].as_str().unwrap().contains('`'), "{answer:?}");
    }
}
