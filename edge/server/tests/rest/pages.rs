//! Web pages of other origins: preflights, who may read answers, and that the page is named in
//! every answer, refusals too.

use serde_json::json;

use crate::rig::{Answer, Rig, post_text, rig, rig_for_pages, user};

const PAGE: &str = "https://chat.example";

/// The value of a header of an answer.
fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Whether a page of the origin may read the answer.
fn is_readable_by(answer: &Answer, origin: &str) -> bool {
    let vary = header(answer, "Vary").unwrap_or_default().to_ascii_lowercase();
    assert!(vary.split(", ").any(|name| name == "origin"), "a cache keeps pages apart: {answer:?}");
    assert_eq!(header(answer, "Access-Control-Allow-Credentials"), None, "{answer:?}");
    match header(answer, "Access-Control-Allow-Origin") {
        None => false,
        Some(allowed) => {
            assert_eq!(allowed, origin, "the page itself, never a list or a star");
            true
        }
    }
}

fn preflight(rig: &Rig, path: &str, origin: &str) -> Answer {
    rig.send(&format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
    ))
}

/// A request from a page, with lines of its own.
fn from_page(rig: &Rig, origin: &str, request: &str) -> Answer {
    rig.send(&request.replacen("Host: x\r\n", &format!("Host: x\r\nOrigin: {origin}\r\n"), 1))
}

#[test]
fn a_listed_page_may_ask_and_read_and_another_may_not() {
    let rig = rig_for_pages(&[PAGE, "http://localhost:3000"]);
    for origin in [PAGE, "http://localhost:3000", "HTTPS://Chat.example"] {
        let asked = preflight(&rig, "/v1/auth/code", origin);
        assert_eq!((asked.status, asked.text.as_str()), (200, ""), "{asked:?}");
        assert!(is_readable_by(&asked, origin), "{asked:?}");
        assert_eq!(header(&asked, "Access-Control-Allow-Methods"), Some("GET,POST"));
        let headers = header(&asked, "Access-Control-Allow-Headers");
        assert_eq!(headers, Some("authorization,content-type"));
        assert_eq!(header(&asked, "Access-Control-Max-Age"), Some("7200"));
    }
    for origin in ["https://evil.example", "http://chat.example", "null", "*"] {
        let asked = preflight(&rig, "/v1/auth/code", origin);
        assert!(!is_readable_by(&asked, origin), "{asked:?}");
    }
    let token = rig.token(user(1));
    let get = format!(
        "GET /v1/messages?after= HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let read = from_page(&rig, PAGE, &get);
    assert!(read.status == 200 && is_readable_by(&read, PAGE), "{read:?}");
    // A page that is not listed gets what anybody gets, and its browser keeps it from the page.
    let foreign = from_page(&rig, "https://evil.example", &get);
    assert!(foreign.status == 200 && !is_readable_by(&foreign, ""), "{foreign:?}");
    // Who is no page is not concerned.
    let plain = rig.send(&get);
    assert!(plain.status == 200 && !is_readable_by(&plain, ""), "{plain:?}");
}

#[test]
fn refusals_can_be_read_by_the_page_as_well() {
    let rig = rig_for_pages(&[PAGE]);
    let code = |body: &str| from_page(&rig, PAGE, &post_text("/v1/auth/code", body));
    let mut answers = vec![
        from_page(&rig, PAGE, "GET /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n"),
        from_page(&rig, PAGE, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"),
        from_page(&rig, PAGE, "DELETE /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    answers.extend((0..5).map(|_| code("{}")));
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [401, 404, 405, 400, 400, 400, 400, 429]);
    for answer in &answers {
        assert!(is_readable_by(answer, PAGE), "{answer:?}");
        assert!(!answer.problem().is_empty());
    }
    let limited = answers.last().unwrap();
    assert!(header(limited, "Retry-After").is_some(), "{limited:?}");
    let exposed = header(limited, "Access-Control-Expose-Headers");
    assert_eq!(exposed, Some("retry-after"), "or the page would not see it");
    // Over the rate of calls, and a preflight is answered: it takes from none.
    assert!(is_readable_by(&preflight(&rig, "/v1/auth/code", PAGE), PAGE));
}

#[test]
fn null_and_a_star_can_be_listed() {
    let files = rig_for_pages(&["null"]);
    assert!(is_readable_by(&preflight(&files, "/v1/auth/code", "null"), "null"));
    assert!(!is_readable_by(&preflight(&files, "/v1/auth/code", PAGE), PAGE));
    let all = rig_for_pages(&["*"]);
    for origin in ["null", PAGE, "https://any.example:8443"] {
        assert!(is_readable_by(&preflight(&all, "/v1/auth/code", origin), origin));
    }
}

#[test]
fn without_a_list_no_page_is_named_and_nothing_is_said_of_pages() {
    let rig = rig();
    let asked = preflight(&rig, "/v1/auth/code", PAGE);
    assert_eq!((asked.status, asked.problem()), (405, "method_not_allowed"));
    for name in ["Vary", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods"] {
        assert_eq!(header(&asked, name), None, "{asked:?}");
    }
    let body = json!({"phone": "+491701234567"}).to_string();
    let taken = from_page(&rig, PAGE, &post_text("/v1/auth/code", &body));
    assert_eq!(taken.status, 202, "what is no browser decides for itself");
}
