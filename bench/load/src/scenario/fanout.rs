//! `fanout`: one client speaks to all the others.
//!
//! A message of the report is one delivery. The next word is said when an earlier one has reached
//! everybody, so that a number of them is outstanding. Servers whose protocol knows no "to all"
//! have no row.

use anyhow::{bail, ensure};

use super::{Stage, with_costs};
use crate::fleet::{Listening, What};
use crate::ledger::Ledger;
use crate::peer::{Name, Setting};
use crate::progress::Progress;
use crate::report::Run;
use crate::stamp::{self, STAMP_BYTES, Stamp};
use crate::verdict::{self, Loop};

/// Who speaks.
const SPEAKER: u32 = 0;
/// Of all words, the share that warms up and is not measured.
const WARM_UP_SHARE: f64 = 0.1;

/// The shape of a fan-out.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Who listen.
    pub(crate) receivers: u32,
    /// Words on their way.
    pub(crate) outstanding: u32,
    /// Content, bytes.
    pub(crate) content_bytes: usize,
    /// Words of the run, warm-up included.
    pub(crate) words: u32,
}

struct Fanout<'a> {
    stage: &'a mut Stage,
    shape: &'a Shape,
    ledger: Ledger,
    content: Vec<u8>,
    said: u32,
    /// By word: whom it has yet to reach.
    missing: Vec<u32>,
    /// Words that have reached everybody.
    over: u32,
}

/// Runs it against one peer.
///
/// # Errors
/// When the peer knows no "to all", a client is refused, or deliveries stop.
pub(crate) fn run(
    name: &Name,
    setting: &Setting,
    shape: &Shape,
    cores: usize,
) -> anyhow::Result<Run> {
    ensure!(shape.content_bytes >= STAMP_BYTES, "content is at least {STAMP_BYTES} bytes");
    let setting = Setting { clients: shape.receivers + 1, to_all: true, ..setting.clone() };
    let mut stage = Stage::open(name, &setting, shape.content_bytes)?;
    stage.fleet.listen(Listening::Hot);
    stage.sign_in(0..setting.clients)?;
    let mut fanout = Fanout {
        shape,
        ledger: Ledger::default(),
        content: stamp::content(shape.content_bytes),
        said: 0,
        missing: Vec::new(),
        over: 0,
        stage: &mut stage,
    };
    let warm_up = (f64::from(shape.words) * WARM_UP_SHARE) as u32;
    fanout.until(warm_up)?;
    let begun = fanout.stage.begin()?;
    let measured_from = fanout.ledger.arrived();
    fanout.until(shape.words)?;
    let spent = fanout.stage.spent(&begun)?;
    let (messages, faults) = (fanout.ledger.arrived() - measured_from, fanout.ledger.faults());
    let Shape { receivers, outstanding, content_bytes, words } = shape;
    let text =
        format!("{words} words of {content_bytes} B to {receivers}, {outstanding} outstanding");
    let mut run = with_costs(stage.run("fanout", text), messages, &spent);
    run.void = verdict::void(&spent, cores, Loop::Closed, faults);
    Ok(run.with_faults(faults))
}

impl Fanout<'_> {
    /// Speaks until so many words have reached everybody.
    fn until(&mut self, words: u32) -> anyhow::Result<()> {
        let mut progress = Progress::new("words", u64::from(self.shape.words));
        self.say(words)?;
        while self.over < words {
            for event in self.stage.turn()? {
                match event.what {
                    What::Message(Some(stamp)) => self.heard(event.client, stamp),
                    What::Message(None) => bail!("client {} got what nobody said", event.client),
                    What::Refused(why) => bail!("client {} was refused: {why}", event.client),
                    What::Closed => bail!("client {} was closed", event.client),
                    _ => {}
                }
            }
            self.say(words)?;
            progress.at(u64::from(self.over));
        }
        Ok(())
    }

    fn say(&mut self, words: u32) -> anyhow::Result<()> {
        while self.said < words && self.said - self.over < self.shape.outstanding {
            for to in 1..=self.shape.receivers {
                self.ledger.send(SPEAKER, to);
            }
            let intended_ns = self.stage.fleet.now_ns();
            let stamp = Stamp { from: SPEAKER, sequence: self.said, intended_ns };
            stamp.write(&mut self.content);
            let known = self.stage.fleet.broadcast(SPEAKER, &self.content);
            ensure!(known, "{} knows no message to all", self.stage.peer.name());
            self.missing.push(self.shape.receivers);
            self.said += 1;
        }
        Ok(())
    }

    fn heard(&mut self, client: u32, stamp: Stamp) {
        // Some servers say it to the speaker as well, which nobody counts on.
        if client != SPEAKER && self.ledger.arrive(stamp.from, client, stamp.sequence) {
            let missing = &mut self.missing[stamp.sequence as usize];
            *missing -= 1;
            self.over += u32::from(*missing == 0);
        }
    }
}
