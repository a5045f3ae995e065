//! The client's side of the handshake tests: builds requests, right or wrong, and shows what the
//! reader decides in whichever pieces they arrive.
#![allow(dead_code, reason = "each test file uses its own part")]

use ringpost_conn::http::{HEAD_BYTES_MAX, HeadReader, Origins, Rejection, Request, Subprotocol};

/// The key of the example in RFC 6455 section 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A [`Request`] that owns its bytes, its answer written out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    Incomplete,
    Upgrade { subprotocol: Subprotocol, origin: Option<String>, answer: String, surplus: Vec<u8> },
    Rest { head: Vec<u8>, surplus: Vec<u8> },
}

/// The decision about `bytes` cut at `cuts` (ascending), with an empty allow-list of origins.
pub(crate) fn decide(bytes: &[u8], cuts: &[usize]) -> Result<Decision, Rejection> {
    decide_from(bytes, cuts, &Origins::default())
}

/// The decision about `bytes` cut at `cuts`, with this allow-list.
pub(crate) fn decide_from(
    bytes: &[u8],
    cuts: &[usize],
    origins: &Origins,
) -> Result<Decision, Rejection> {
    let mut reader = HeadReader::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        match reader.feed(&bytes[start..end], origins)? {
            Request::Incomplete => {}
            Request::Upgrade { upgrade, consumed, .. } => {
                let mut answer = Vec::new();
                upgrade.write_response(&mut answer);
                assert!(answer.len() < 256);
                return Ok(Decision::Upgrade {
                    subprotocol: upgrade.subprotocol,
                    origin: upgrade.origin.map(str::to_owned),
                    answer: String::from_utf8(answer).expect("an answer is ASCII"),
                    surplus: bytes[start + consumed..].to_vec(),
                });
            }
            Request::Rest { head, consumed, .. } => {
                return Ok(Decision::Rest {
                    head: head.to_vec(),
                    surplus: bytes[start + consumed..].to_vec(),
                });
            }
        }
        assert!(reader.pinned_bytes() <= HEAD_BYTES_MAX);
        start = end;
    }
    Ok(Decision::Incomplete)
}

/// A request's head under construction.
#[derive(Clone)]
pub(crate) struct Head {
    line: [String; 3],
    fields: Vec<(String, String)>,
}

/// An upgrade that passes.
pub(crate) fn good() -> Head {
    Head { line: ["GET", "/v1/ws", "HTTP/1.1"].map(str::to_owned), fields: Vec::new() }
        .with("Host", "chat.example:7400")
        .with("Upgrade", "websocket")
        .with("Connection", "Upgrade")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", KEY)
}

impl Head {
    pub(crate) fn method(mut self, method: &str) -> Self {
        self.line[0] = method.to_owned();
        self
    }

    pub(crate) fn target(mut self, target: &str) -> Self {
        self.line[1] = target.to_owned();
        self
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.line[2] = version.to_owned();
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|field| field.0 != name);
        self
    }

    pub(crate) fn replace(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    pub(crate) fn fields(&self) -> usize {
        self.fields.len()
    }

    /// With a field that makes the head exactly this long.
    pub(crate) fn padded_to(self, bytes: usize) -> Self {
        let without_value = self.clone().with("X-Pad", "").bytes().len();
        self.with("X-Pad", &"x".repeat(bytes - without_value))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = self.line.join(" ") + "\r\n";
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}
