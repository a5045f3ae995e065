//! Setup: a server. Action: the commands of the quick start in README.md, in two terminals, as they stand
//! there; only the address and the data directory are this node's. Expectation: the first shows the
//! line to type in the second, what one types the other reads, and both see the receipts.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::rig::{BINARY, Node, PATIENCE};

/// What both commands of the quick start begin with.
const CHAT: &str = "python3 core/wire/tests/python/chat.py";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands of the section, as they are typed.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Quick start\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Somebody at a terminal.
struct Terminal {
    process: Child,
    lines: Receiver<String>,
}

impl Terminal {
    fn type_in(node: &Node, command: &str) -> Self {
        let mut words = command.split_whitespace();
        let token_command = format!("{BINARY} token --data-dir {}", node.data_dir().display());
        let mut process = Command::new(words.next().unwrap())
            .args(words)
            .args(["--address", &node.address.to_string(), "--token-command", &token_command])
            .current_dir(repository())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = BufReader::new(process.stdout.take().unwrap());
        let (said, lines) = channel();
        thread::spawn(move || shown.lines().map_while(Result::ok).try_for_each(|it| said.send(it)));
        Self { process, lines }
    }

    fn say(&mut self, text: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    /// The next line that contains `part`.
    fn shows(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The end of the input ends it in order.
    fn leave(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn two_people_chat_by_the_lines_of_the_quick_start() {
    let commands = commands();
    let [serve, first, second] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!((serve.as_str(), first.as_str()), ("cargo run --release", CHAT));
    let node = Node::start(&[]);
    let mut bob = Terminal::type_in(&node, first);
    let shown = bob.shows(CHAT);
    let line = shown.strip_prefix("in another terminal: ").unwrap();
    // README has the same line, with an id of its own.
    let before_id = |text: &str| text.rsplit_once(' ').map(|(before, _)| before.to_owned());
    assert_eq!(before_id(line), before_id(second));
    let mut alice = Terminal::type_in(&node, line);
    alice.shows("queue_empty");
    alice.say("hello Bob");
    bob.shows("   hello Bob");
    alice.shows("\"status\":\"sent\"");
    alice.shows("\"status\":\"delivered\"");
    bob.say("hello Alice");
    alice.shows("   hello Alice");
    alice.leave();
    bob.leave();
}
