//! A node under attack, and what must hold whatever the attack is: neighbours go on being served,
//! memory stays bounded, each class of refusal is counted and is one line in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use crate::peer::{Encoding, Peer, content, message};
use crate::rig::{Node, eventually};

/// What the server may take beyond what it had, at the worst moment of an attack. The attacks send
/// or claim far more than that; what they may pin is a few buffers.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// Pause of the neighbours between two messages: they are served, they do not load.
const NEIGHBOUR_PAUSE: Duration = Duration::from_millis(20);

/// How many connections they are.
pub(crate) const NEIGHBOURS: u64 = 2;

/// How often a class of refusal may write a line.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// A node under attack.
pub(crate) struct Siege {
    pub(crate) node: Node,
    neighbours: Neighbours,
    began: Instant,
    /// Of the log and of memory, when it began.
    log_bytes: usize,
    resident_bytes: u64,
}

impl Siege {
    /// Starts a node with these `KEY=VALUE`, and its neighbours.
    pub(crate) fn begin(settings: &[&str]) -> Self {
        Self::on(Node::start(settings))
    }

    /// Lays siege to a node that runs.
    pub(crate) fn on(node: Node) -> Self {
        let neighbours = Neighbours::begin(&node);
        // From here on the kernel keeps the peak anew.
        std::fs::write(format!("/proc/{}/clear_refs", node.pid()), "5").unwrap();
        let (log_bytes, resident_bytes) = (node.log().len(), status_bytes(&node, "VmRSS"));
        Self { node, neighbours, began: Instant::now(), log_bytes, resident_bytes }
    }

    /// A counter that is none of a refusal has come to its number.
    pub(crate) fn counted(&self, name: &str, count: u64) {
        eventually(&format!("{name} at {count}"), || self.node.metric(name) >= count);
    }

    /// The attack is over: the neighbours are served, each of these refusals was counted so often
    /// and told in one line, and memory is where it was.
    pub(crate) fn end(self, refusals: &[(&str, u64)]) -> Node {
        self.end_within(GROWTH_BYTES_MAX, refusals)
    }

    /// The same for an attack that rightly takes more: content that is kept, for instance.
    pub(crate) fn end_within(self, growth_bytes_max: u64, refusals: &[(&str, u64)]) -> Node {
        for &(name, count) in refusals {
            self.counted(name, count);
        }
        let Self { node, neighbours, began, log_bytes, resident_bytes } = self;
        neighbours.end();
        let log = || node.log().split_off(log_bytes);
        for &(name, _) in refusals {
            let begin = line_of(name);
            let lines = || log().matches(&begin).count() as u64;
            eventually(&format!("a line of {name}"), || lines() > 0);
            let max = 1 + began.elapsed().as_secs() / LINE_EVERY.as_secs();
            assert!(lines() <= max, "{} lines of {name} in\n{}", lines(), log());
        }
        let growth = status_bytes(&node, "VmHWM").saturating_sub(resident_bytes);
        assert!(growth <= growth_bytes_max, "{growth} bytes more than {resident_bytes}");
        node
    }
}

/// What the log's line of a counter holds: `name_total{label="reason"}` is its metric and reason.
fn line_of(counter: &str) -> String {
    let (metric, label) = counter.split_once('{').unwrap_or((counter, "=\"\"}"));
    let reason = label.split_once('=').unwrap().1.trim_end_matches('}');
    format!("refused metric={metric} reason={reason} ")
}

/// A line of `/proc/PID/status`, bytes.
fn status_bytes(node: &Node, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}

/// Two people who talk all the while: each message is `sent`, pushed, acked and told `delivered`.
struct Neighbours {
    talk: JoinHandle<()>,
    over: Arc<AtomicBool>,
}

impl Neighbours {
    fn begin(node: &Node) -> Self {
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        let mut b = Peer::sign_in_live(node, Encoding::Tcp, bob, 1);
        let mut a = Peer::sign_in_live(node, Encoding::Json, alice, 1);
        exchange(&mut a, &mut b, bob);
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let talk = std::thread::spawn(move || {
            loop {
                // Looked at first: one whole message comes after the attack.
                let last = told.load(Relaxed);
                exchange(&mut a, &mut b, bob);
                if last {
                    return;
                }
                std::thread::sleep(NEIGHBOUR_PAUSE);
            }
        });
        Self { talk, over }
    }

    fn end(self) {
        self.over.store(true, Relaxed);
        self.talk.join().expect("the neighbours are served");
    }
}

fn exchange(a: &mut Peer, b: &mut Peer, bob: Uuid) {
    let message_id = Uuid::new_v4();
    a.say(&message(message_id, bob, message_id.as_bytes()));
    let sent = a.hear_kind("receipt");
    assert_eq!((&sent["status"], &sent["message_id"]), (&json!("sent"), &json!(message_id)));
    let got = b.hear_kind("new_message");
    assert_eq!((&got["id"], &content(&got)[..]), (&sent["id"], &message_id.as_bytes()[..]));
    b.say(&json!({"type": "ack", "push": got["push"]}));
    let delivered = a.hear_kind("receipt");
    assert_eq!((&delivered["status"], &delivered["id"]), (&json!("delivered"), &sent["id"]));
    a.say(&json!({"type": "ack", "push": delivered["push"]}));
}
