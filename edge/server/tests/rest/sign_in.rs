//! Codes, sessions, refresh tokens, sign-out; abuse row 35.

use std::net::IpAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ringpost_server::config::{Auth, Rest};
use serde_json::{Value, json};

use crate::rig::{Answer, PHONE, Rig, post_text, rig, rig_with};

/// A life that a test can wait for.
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_code_signs_a_device_in_and_the_phone_keeps_its_user() {
    let rig = rig();
    let first = rig.sign_in(PHONE, 3);
    assert_eq!(first["token_type"], "Bearer");
    assert_eq!(first["device"], 3);
    assert_eq!(first["expires_in"], 3_600);
    let verified = rig.verified(&first);
    assert_eq!(verified.user.to_string(), first["user_id"].as_str().unwrap());
    assert_eq!(verified.device.number(), 3);
    let again = rig.sign_in(PHONE, 4);
    assert_eq!(again["user_id"], first["user_id"]);
    let other = rig.sign_in("+15551234567", 3);
    assert_ne!(other["user_id"], first["user_id"]);
    // Asked of the home each time: a crash may have come in between.
    assert_eq!(rig.homes.created.lock().unwrap().len(), 3);
}

#[test]
fn a_code_serves_once_for_its_phone_and_its_request() {
    let rig = rig();
    let (request, code) = rig.ask_code(PHONE);
    let verify = |request: &str, phone: &str, code: &str| {
        let body = json!({"request": request, "phone": phone, "code": code, "device": 1});
        let answer = rig.post("/v1/auth/verify", &body);
        if answer.status != 200 {
            assert_eq!(answer.problem(), "bad_code", "{answer:?}");
        }
        answer.status
    };
    assert_eq!(verify("another", PHONE, &code), 401);
    assert_eq!(verify(&request, "+15551234567", &code), 401);
    assert_eq!(verify(&request, PHONE, "12345"), 401);
    assert_eq!(verify(&request, PHONE, "1234567"), 401);
    assert_eq!(verify(&request, PHONE, "１２３４５６"), 401);
    assert_eq!(verify(&request, PHONE, &code), 200);
    assert_eq!(verify(&request, PHONE, &code), 401);
}

#[test]
fn abuse_row_35_guessing_ends_the_code_and_not_the_owners_other_one() {
    let rig = rig();
    let (theirs, their_code) = rig.ask_code(PHONE);
    // A third party asks for a code of the same phone, and guesses until it is void.
    let (request, code) = rig.ask_code(PHONE);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let verify = |request: &str, code: &str| {
        let body = json!({"request": request, "phone": PHONE, "code": code, "device": 1});
        rig.post("/v1/auth/verify", &body)
    };
    for _ in 0..Auth::default().code_attempts_max {
        assert_eq!(verify(&request, wrong).problem(), "bad_code");
    }
    // The right one comes too late, and the answer does not tell.
    assert_eq!(verify(&request, &code).problem(), "bad_code");
    // The owner is not locked out.
    assert_eq!(verify(&theirs, &their_code).status, 200);
}

#[test]
fn a_code_that_comes_too_late_is_bad_and_counted() {
    let rig = rig_with(Auth { code_ttl: SHORT, ..Auth::default() }, Rest::default());
    let (request, code) = rig.ask_code(PHONE);
    std::thread::sleep(2 * SHORT);
    let body = json!({"request": request, "phone": PHONE, "code": code, "device": 1});
    assert_eq!(rig.post("/v1/auth/verify", &body).problem(), "bad_code");
    assert_eq!(rig.service.counters().hits("code_life"), 1);
}

#[test]
fn a_refresh_token_that_comes_too_late_is_bad_and_counted() {
    let rig = rig_with(Auth { refresh_ttl: SHORT, ..Auth::default() }, Rest::default());
    let session = rig.sign_in(PHONE, 1);
    std::thread::sleep(2 * SHORT);
    assert_eq!(rig.refresh(&session).problem(), "bad_refresh_token");
    assert_eq!(rig.service.counters().hits("refresh_life"), 1);
}

#[test]
fn abuse_row_35_every_phone_gets_the_same_answer_known_or_not() {
    let rig = rig();
    rig.sign_in(PHONE, 1);
    let shape = |phone: &str| {
        let answer = rig.post("/v1/auth/code", &json!({"phone": phone}));
        let keys: Vec<String> = answer.body.as_object().unwrap().keys().cloned().collect();
        let request_length = answer.body["request"].as_str().unwrap().len();
        (answer.status, answer.text.len(), keys, request_length, answer.body["expires_in"].clone())
    };
    assert_eq!(shape(PHONE), shape("+15550000000"));
}

fn ask_from(rig: &Rig, address: &str, phone: &str) -> Answer {
    let peer: IpAddr = address.parse().unwrap();
    rig.post_from(peer, "/v1/auth/code", &json!({"phone": phone}))
}

#[test]
fn abuse_row_35_calls_are_limited_per_address() {
    let auth = Auth { requests_per_address_minute: 8, ..Auth::default() };
    let rig = rig_with(auth, Rest::default());
    let answers: Vec<Answer> =
        (0..10).map(|n| ask_from(&rig, "198.51.100.9", &format!("+1555000000{n}"))).collect();
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(taken, 8, "{answers:?}");
    let limited = &answers[9];
    assert_eq!((limited.status, limited.problem()), (429, "rate_limited"));
    assert!(limited.body["retry_after_ms"].as_u64().unwrap() > 1_000, "{limited:?}");
    assert!(limited.head.to_lowercase().contains("retry-after: "), "{limited:?}");
    // The same for every endpoint that takes guesses.
    let peer: IpAddr = "198.51.100.9".parse().unwrap();
    let guess = rig.post_from(peer, "/v1/auth/refresh", &json!({"refresh_token": "x"}));
    assert_eq!(guess.problem(), "rate_limited");
    let body = json!({"request": "r", "phone": PHONE, "code": "123456", "device": 1});
    assert_eq!(rig.post_from(peer, "/v1/auth/verify", &body).problem(), "rate_limited");
    // Others are not concerned.
    let other = rig.post_from("198.51.100.10".parse().unwrap(), "/v1/auth/verify", &body);
    assert_eq!(other.problem(), "bad_code");
}

#[test]
fn abuse_row_35_one_stranger_keeps_nobody_from_a_code() {
    let rig = rig();
    for _ in 0..20 {
        assert_eq!(ask_from(&rig, "198.51.100.7", PHONE).status, 202);
    }
    // Three texts at the stranger's wish, and the phone's owner gets one of those that are left.
    assert_eq!(rig.codes_sent().len(), 3);
    rig.sign_in(PHONE, 1);
}

#[test]
fn abuse_row_35_texts_to_a_phone_are_bounded_whoever_asks_and_the_owners_code_stays_good() {
    let rig = rig();
    let (request, code) = rig.ask_code(PHONE);
    let answers: Vec<Answer> =
        (0..40).map(|n| ask_from(&rig, &format!("198.51.100.{n}"), PHONE)).collect();
    assert_eq!(rig.codes_sent().len(), 4, "and the owner's: five in an hour");
    // Whoever got no text is not told: answers differ in the name alone.
    let shape = |answer: &Answer| {
        let name = answer.body["request"].as_str().unwrap();
        let text = answer.text.replace(name, "");
        let lines = answer.head.lines().filter(|line| !line.starts_with("date:"));
        (answer.status, lines.collect::<Vec<_>>().join("\n"), name.len(), text)
    };
    for answer in &answers {
        assert_eq!(shape(answer), shape(&answers[0]));
    }
    let names: std::collections::HashSet<&str> =
        answers.iter().map(|answer| answer.body["request"].as_str().unwrap()).collect();
    assert_eq!(names.len(), answers.len());
    // A name without a code is guessed in vain, as often as one with a code, and touches no other.
    let verify = |request: &str, code: &str| {
        let body = json!({"request": request, "phone": PHONE, "code": code, "device": 1});
        rig.post("/v1/auth/verify", &body)
    };
    let last = answers.last().unwrap().body["request"].as_str().unwrap();
    for _ in 0..Auth::default().code_attempts_max + 1 {
        assert_eq!(verify(last, &code).problem(), "bad_code");
    }
    assert_eq!(verify(&request, &code).status, 200);
}

#[test]
fn refresh_tokens_rotate() {
    let rig = rig();
    let first = rig.sign_in(PHONE, 1);
    let second = rig.refresh(&first);
    assert_eq!(second.status, 200, "{second:?}");
    assert!(second.head.to_lowercase().contains("cache-control: no-store"));
    assert_eq!(second.body["user_id"], first["user_id"]);
    assert_ne!(second.body["refresh_token"], first["refresh_token"]);
    let third = rig.refresh(&second.body);
    assert_eq!(third.status, 200);
    rig.verified(&third.body);
    assert!(rig.homes.revoked.lock().unwrap().len() == 1, "only the sign-in revoked");
}

#[test]
fn a_refresh_whose_answer_was_lost_is_repeated() {
    let rig = rig();
    let first = rig.sign_in(PHONE, 1);
    let lost = rig.refresh(&first).body;
    let again = rig.refresh(&first);
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.body["refresh_token"], lost["refresh_token"], "the same next token");
    rig.verified(&again.body);
    // Two at the same time get the same.
    let next = |_| rig.refresh(&again.body).body["refresh_token"].clone();
    let both = std::thread::scope(|scope| {
        [0, 1].map(|n| scope.spawn(move || next(n))).map(|thread| thread.join().unwrap())
    });
    assert!(both[0].is_string() && both[0] == both[1], "{both:?}");
    assert_eq!(rig.homes.revoked.lock().unwrap().len(), 1, "only the sign-in revoked");
}

#[test]
fn a_refresh_token_behind_a_newer_one_in_use_signs_the_device_out_everywhere() {
    let rig = rig();
    let first = rig.sign_in(PHONE, 1);
    let used = rig.refresh(&first).body;
    let second = rig.refresh(&used).body;
    let before = rig.verified(&second);
    let reused = rig.refresh(&first);
    assert_eq!(reused.problem(), "bad_refresh_token");
    // The thief and the owner both lose: the family is gone, the home is told, tokens are void.
    assert_eq!(rig.refresh(&second).problem(), "bad_refresh_token");
    let (user, device, before_ms) = *rig.homes.revoked.lock().unwrap().last().unwrap();
    assert_eq!((user, device), (before.user, before.device));
    assert!(before.issued_at_ms <= before_ms);
    let token = second["access_token"].as_str().unwrap();
    assert_eq!(rig.get("/v1/messages?after=", token).problem(), "unauthorized");
    // A new code helps.
    let session = rig.sign_in(PHONE, 1);
    assert!(rig.verified(&session).issued_at_ms > before_ms);
    let token = session["access_token"].as_str().unwrap();
    assert_eq!(rig.get("/v1/messages?after=", token).status, 200);
}

#[test]
fn without_a_grace_a_refresh_token_is_good_once() {
    let rig = rig_with(Auth { refresh_grace: Duration::ZERO, ..Auth::default() }, Rest::default());
    let session = rig.sign_in(PHONE, 1);
    let next = rig.refresh(&session).body;
    assert_eq!(rig.refresh(&session).problem(), "bad_refresh_token");
    assert_eq!(rig.refresh(&next).problem(), "bad_refresh_token");
}

#[test]
fn an_unknown_refresh_token_reads_like_a_used_one() {
    let rig = rig();
    let session = rig.sign_in(PHONE, 1);
    let next = rig.refresh(&session).body;
    rig.refresh(&next);
    let used = rig.refresh(&session);
    let unknown = rig.refresh(&json!({"refresh_token": "rpr1_AAAAAAAAAAAAAAAAAAAAAAAA"}));
    assert_eq!(used.text, unknown.text);
    assert_eq!(used.status, unknown.status);
}

#[test]
fn logout_voids_tokens_of_the_device_and_of_no_other() {
    let rig = rig();
    let (one, two) = (rig.sign_in(PHONE, 1), rig.sign_in(PHONE, 2));
    let token = |session: &Value| session["access_token"].as_str().unwrap().to_owned();
    let out = rig.logout(&token(&one));
    assert_eq!((out.status, out.text.as_str()), (204, ""));
    assert_eq!(rig.get("/v1/messages?after=", &token(&one)).problem(), "unauthorized");
    assert_eq!(rig.logout(&token(&one)).problem(), "unauthorized");
    assert_eq!(rig.refresh(&one).problem(), "bad_refresh_token");
    let (_, device, before_ms) = *rig.homes.revoked.lock().unwrap().last().unwrap();
    assert_eq!(device.number(), 1);
    assert!(before_ms >= rig.verified(&one).issued_at_ms);
    assert_eq!(rig.get("/v1/messages?after=", &token(&two)).status, 200);
    assert_eq!(rig.refresh(&two).status, 200);
}

#[test]
fn signing_a_device_in_again_voids_what_it_had() {
    let rig = rig();
    let old = rig.sign_in(PHONE, 1);
    let new = rig.sign_in(PHONE, 1);
    assert_eq!(rig.refresh(&old).problem(), "bad_refresh_token");
    let token = |session: &Value| session["access_token"].as_str().unwrap().to_owned();
    assert_eq!(rig.get("/v1/messages?after=", &token(&old)).status, 401);
    assert_eq!(rig.get("/v1/messages?after=", &token(&new)).status, 200);
    assert_eq!(rig.refresh(&new).status, 200);
}

#[test]
fn a_user_who_could_not_be_created_gets_no_session() {
    let rig = rig();
    rig.homes.refuses.store(true, SeqCst);
    let (request, code) = rig.ask_code(PHONE);
    let body = json!({"request": request, "phone": PHONE, "code": code, "device": 1});
    assert_eq!(rig.post("/v1/auth/verify", &body).problem(), "overloaded");
    rig.homes.refuses.store(false, SeqCst);
    let session = rig.sign_in(PHONE, 1);
    // The phone was given its user before; it is the same one that is created now.
    let created = rig.homes.created.lock().unwrap();
    assert_eq!(created[0], created[1]);
    assert_eq!(session["user_id"], created[0].to_string());
}

#[test]
fn bad_bodies_are_problems_that_name_the_field() {
    let rig = rig();
    let refused = |path: &str, body: &str, expected: &str| {
        let answer = rig.send(&post_text(path, body));
        let (problem, field) = expected.split_once(' ').unwrap_or((expected, ""));
        assert_eq!(answer.problem(), problem, "{body}");
        assert_eq!(answer.body["field"].as_str().unwrap_or_default(), field, "{body}");
    };
    for (body, expected) in [
        ("", "bad_request"),
        ("[]", "bad_request"),
        ("{}", "missing_field phone"),
        ("{\"Phone\":\"+491701234567\"}", "missing_field phone"),
        ("{\"phone\":5}", "bad_field phone"),
        ("{\"phone\":null}", "bad_field phone"),
        ("{\"phone\":\"0170\"}", "bad_field phone"),
        ("{\"phone\":\"+491701234567\",\"phone\":\"+491701234568\"}", "bad_request"),
        (&"[".repeat(10_000), "bad_request"),
        (&format!("{{\"phone\":\"{}\"}}", "1".repeat(20_000)), "too_large"),
    ] {
        refused("/v1/auth/code", body, expected);
    }
    let whole = json!({"request": "r", "phone": PHONE, "code": "123456", "device": 1});
    for field in ["request", "phone", "code", "device"] {
        let mut body = whole.clone();
        body.as_object_mut().unwrap().remove(field);
        refused("/v1/auth/verify", &body.to_string(), &format!("missing_field {field}"));
        for value in [json!([1]), json!({"a": 1}), json!(true), json!(-1), json!(1.5)] {
            body[field] = value;
            refused("/v1/auth/verify", &body.to_string(), &format!("bad_field {field}"));
        }
    }
    for device in [json!(0), json!(128), json!(256 + 1), json!("1"), Value::Null] {
        let mut body = whole.clone();
        body["device"] = device;
        refused("/v1/auth/verify", &body.to_string(), "bad_field device");
    }
    refused("/v1/auth/refresh", "{}", "missing_field refresh_token");
    let form = "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\na=b&c";
    assert_eq!(rig.send(form).problem(), "not_json");
    let missing = "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(rig.send(missing).problem(), "not_json");
}
