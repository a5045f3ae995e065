//! SIGHUP: what is read again, and that nothing ends by it.
//!
//! Setup: a node with a file of settings and a key file of an outside provider. Action: the files
//! change, and the node is told. Expectation: keys that came are good and keys that went are void,
//! the log's level is the new one; what cannot be used is named, and what was stays in force.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;
use ringpost_server::auth::TokenSigner;
use ringpost_server::clock::wall_ms;
use ringpost_wire::{DeviceId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{Encoding, Heard, Peer};
use crate::rig::{Node, eventually};

/// A key of the outside provider.
struct Key {
    signer: TokenSigner,
    public: String,
}

impl Key {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        Self {
            signer: TokenSigner::from_pkcs8(document.as_ref()).unwrap(),
            public: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
        }
    }

    /// As it stands in a key file.
    fn entry(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.signer.key_id(), "x": self.public})
    }

    /// Whether the node lets somebody in with a token of this key.
    fn opens(&self, node: &Node) -> bool {
        let who = (UserId::from(Uuid::new_v4()), DeviceId::new(1).unwrap());
        let life = Duration::from_secs(600);
        let token = self.signer.sign("outside", "ringpost", who, wall_ms(), life).token;
        let mut peer = Peer::connect(node, Encoding::Tcp);
        peer.say(&json!({"type": "hello", "token": token, "device": 1}));
        matches!(peer.listen(), Heard::Event(event) if event["type"] == "welcome")
    }
}

fn write_keys(path: &Path, keys: &[&Key]) {
    let entries: Vec<Value> = keys.iter().map(|key| key.entry()).collect();
    std::fs::write(path, json!({"keys": entries}).to_string()).unwrap();
}

/// Tells the node to read again, and waits for its line.
fn reload(node: &Node) -> String {
    let before = node.log().len();
    node.signal(Signal::SIGHUP);
    let line = || {
        let log = node.log().split_off(before);
        log.lines().find(|line| line.contains("were read again")).map(str::to_owned)
    };
    eventually("the line of the reload", || line().is_some());
    line().unwrap()
}

#[test]
fn a_signal_to_read_again_takes_keys_and_the_level_of_the_log_and_ends_nothing() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (settings, jwks) = (dir.path().join("config.toml"), dir.path().join("jwks.json"));
    let (first, second) = (Key::new(), Key::new());
    write_keys(&jwks, &[&first]);
    std::fs::write(&settings, "[log]\nlevel = \"warn\"\n").unwrap();
    let file = format!("auth.jwks_file={}", jwks.display());
    let node = Node::start_with_file(&dir, &[&file, "auth.jwks_issuer=outside"]);
    let mut stays = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
    assert!(first.opens(&node) && !second.opens(&node));

    write_keys(&jwks, &[&second]);
    std::fs::write(&settings, "drain_deadline = \"3s\"\n[log]\nlevel = \"info\"\n").unwrap();
    let line = reload(&node);
    assert!(line.contains("log.level") && line.contains("token keys (2)"), "{line}");
    assert!(line.contains("drain_deadline (a restart takes them)"), "{line}");
    assert!(!first.opens(&node) && second.opens(&node));

    // What cannot be used changes nothing, and is named. The line is one of level info no more.
    std::fs::write(&settings, "[log]\nlevel = \"loud\"\n").unwrap();
    std::fs::write(&jwks, "no keys").unwrap();
    let line = reload(&node);
    assert!(line.contains("log.level") && line.contains("is no JWKS"), "{line}");
    assert!(second.opens(&node));

    // An operator is answered whatever the level was and becomes.
    for level in ["error", "error", "info"] {
        std::fs::write(&settings, format!("[log]\nlevel = \"{level}\"\n")).unwrap();
        reload(&node);
    }
    stays.ping();
}
