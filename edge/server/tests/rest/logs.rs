//! What reaches the log: no token, no phone number, no content, and no line that a peer wrote
//! (abuse row 39).

use std::io::Write;
use std::sync::{Arc, Mutex};

use ringpost_server::rest::{CodeSender, LogSender, OneTimeCode};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::rig::{PHONE, rig, user};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// One log for this process: the only test here that reads it, on purpose.
#[test]
fn abuse_row_39_secrets_and_peers_never_write_into_the_log() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(captured.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let rig = rig();
    rig.message(1, user(1), user(2), b"plain words of a message");
    let session = rig.sign_in(PHONE, 1);
    let old = session["refresh_token"].as_str().unwrap().to_owned();
    let access = session["access_token"].as_str().unwrap().to_owned();
    let new = rig.refresh(&session).body["refresh_token"].as_str().unwrap().to_owned();
    let newest = rig.refresh(&json!({"refresh_token": new})).body["refresh_token"].clone();
    // The one event of all this that must be told.
    rig.refresh(&session);
    rig.get(&format!("/v1/messages?user_id={}", user(2)), &rig.token(user(1)));
    let forged = "a\u{1b}[31m\r\nINFO forged line";
    rig.get("/v1/messages?user_id=%0d%0aINFO%20forged", forged.split('\r').next().unwrap());
    rig.send("GET /%1b[31mforged HTTP/1.1\r\nHost: forged\r\nUser-Agent: forged\r\n\r\n");
    let code =
        OneTimeCode { phone: PHONE.into(), code: "987654".into(), request: "the-request".into() };
    let delivery = LogSender.deliver(code);
    drop(delivery);

    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("a refresh token came twice"), "{log}");
    for secret in [PHONE, &PHONE[1..], &old, &new, newest.as_str().unwrap(), &access, "plain words"]
    {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
    assert!(!log.contains("forged"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    // The development sender is the one place that writes a code, and it says what it is.
    assert_eq!(log.matches("987654").count(), 1, "{log}");
    let line = log.lines().find(|line| line.contains("987654")).unwrap();
    assert!(line.contains("WARN") && line.contains("the-request"), "{line}");
}
