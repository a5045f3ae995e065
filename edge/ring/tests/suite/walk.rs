//! A random walk over the operations: whatever a worker does within the rules, the promises hold.
//!
//! The model keeps what is armed for each connection, so that it calls only what is allowed, and
//! checks every completion against it: bytes continue the stream, each operation is answered at
//! most once and only if it was asked for, nothing is heard of a slot after its end.

use std::collections::HashMap;

use ringpost_ring::{Errno, Operation, Rings, Slot, Wait};

use super::{Far, MULTISHOT, ONE_SHOT, Seen, World, turn};

const CONNECTIONS_MAX: usize = 8;
const SETTLE_TURNS_MAX: usize = 5_000;

/// A byte stream that knows its position.
fn stream(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|position| (position ^ position >> 7) as u8).collect()
}

struct Model<F> {
    far: Option<F>,
    written: usize,
    received: usize,
    input: Input,
    stopping: bool,
    sending: bool,
    polling: bool,
    asking: bool,
    closing: bool,
}

#[derive(PartialEq, Eq, Clone, Copy, Debug)]
enum Input {
    Idle,
    Poll,
    OneShot,
    Multishot,
    /// The stream has ended or failed.
    Over,
}

/// xorshift64*, for the test's own choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

pub(crate) fn any_sequence_of_operations_keeps_the_promises<W: World>(
    world: &mut W,
    seed: u64,
    steps: usize,
) {
    let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(1));
    let mut models: HashMap<Slot, Model<W::Far>> = HashMap::new();
    let mut waiting = Vec::new();
    let mut ended = 0usize;
    for _ in 0..steps {
        if models.len() + waiting.len() < CONNECTIONS_MAX && dice.roll(8) == 0 {
            waiting.push(world.connect());
        }
        let mut slots: Vec<Slot> = models.keys().copied().collect();
        slots.sort_unstable();
        if !slots.is_empty() {
            for _ in 0..dice.roll(4) {
                let slot = slots[dice.roll(slots.len())];
                act(world.rings(), slot, models.get_mut(&slot).expect("it is live"), &mut dice);
            }
        }
        for seen in turn(world.rings(), Wait::POLL) {
            check(seen, &mut models, &mut waiting, &mut ended);
        }
    }
    let opened = models.len() + ended;
    for (slot, model) in &mut models {
        if !std::mem::replace(&mut model.closing, true) {
            world.rings().close(*slot);
        }
    }
    for _ in 0..SETTLE_TURNS_MAX {
        for seen in turn(world.rings(), Wait::POLL) {
            check(seen, &mut models, &mut waiting, &mut ended);
        }
        // Those accepted only now are closed as well.
        for (slot, model) in &mut models {
            if !std::mem::replace(&mut model.closing, true) {
                world.rings().close(*slot);
            }
        }
        if models.is_empty() && waiting.is_empty() {
            break;
        }
    }
    assert!(models.is_empty(), "every slot ends");
    assert!(ended >= opened && ended > 0, "{ended} of {opened}");
    assert_eq!(world.rings().slots_in_use(), 0);
    assert_eq!(world.rings().stats().stale_completions, 0);
}

fn act<F: Far>(rings: &mut impl Rings, slot: Slot, model: &mut Model<F>, dice: &mut Dice) {
    let rests = !model.stopping && !model.closing;
    match dice.roll(12) {
        0..3 => {
            if let Some(far) = &mut model.far {
                let bytes = stream(model.written, 1 + dice.roll(9_000));
                // The near end may be closed already.
                if !model.closing {
                    model.written += far.write(&bytes);
                }
            }
        }
        3 if rests && model.input == Input::Idle => {
            rings.receive(slot, ONE_SHOT);
            model.input = Input::OneShot;
        }
        4 if rests && model.input == Input::Idle => {
            rings.receive(slot, MULTISHOT);
            model.input = Input::Multishot;
        }
        5 if rests && model.input == Input::Idle => {
            rings.poll_readable(slot);
            model.input = Input::Poll;
        }
        6 if rests => {
            rings.stop_receive(slot);
            model.stopping = true;
        }
        7 if !model.sending && !model.closing => {
            rings.send(slot, vec![1; 1 + dice.roll(3_000)].into());
            model.sending = true;
        }
        8 if !model.polling && !model.closing => {
            rings.poll_writable(slot);
            model.polling = true;
        }
        9 if !model.asking && !model.closing => {
            rings.peer_address(slot);
            model.asking = true;
        }
        10 => {
            if let Some(far) = &mut model.far {
                far.read(dice.roll(5_000) + 1);
            }
        }
        11 if dice.roll(6) == 0 => match dice.roll(3) {
            0 => {
                if let Some(far) = model.far.take() {
                    far.reset();
                }
            }
            1 => drop(model.far.take()),
            _ if !model.closing => {
                rings.close(slot);
                model.closing = true;
            }
            _ => {}
        },
        _ => {}
    }
}

fn check<F: Far>(
    seen: Seen,
    models: &mut HashMap<Slot, Model<F>>,
    waiting: &mut Vec<F>,
    ended: &mut usize,
) {
    if let Seen::Accepted(slot) = seen {
        // Connections are accepted in the order in which they were made.
        let model = Model {
            far: Some(waiting.remove(0)),
            written: 0,
            received: 0,
            input: Input::Idle,
            stopping: false,
            sending: false,
            polling: false,
            asking: false,
            closing: false,
        };
        assert!(models.insert(slot, model).is_none(), "a slot begins once");
        return;
    }
    let slot = seen.slot().expect("a walk causes no other completions");
    let model = models.get_mut(&slot).expect("nothing is heard of a slot after its end");
    let swallows = model.closing;
    match seen {
        Seen::Received(_, bytes, more) => {
            assert!(!swallows && matches!(model.input, Input::OneShot | Input::Multishot));
            assert!(!more || model.input == Input::Multishot, "one-shot is once");
            assert!(more || model.input == Input::OneShot || model.stopping, "multishot goes on");
            assert!(bytes == stream(model.received, bytes.len()), "bytes continue the stream");
            model.received += bytes.len();
            if !more {
                model.input = Input::Idle;
            }
        }
        Seen::Readable(_) => {
            assert!(!swallows && model.input == Input::Poll && !model.stopping);
            model.input = Input::Idle;
        }
        Seen::Eof(_) | Seen::Failed(_, Operation::Receive, _) => {
            assert!(!swallows && matches!(model.input, Input::OneShot | Input::Multishot));
            assert!(model.far.is_none(), "only a far end that is gone ends the stream");
            model.input = Input::Over;
        }
        Seen::ReceiveStopped(_) => {
            assert!(!swallows && std::mem::take(&mut model.stopping), "each stop has one answer");
            if model.input != Input::Over {
                model.input = Input::Idle;
            }
        }
        Seen::Sent(_, _, result) => {
            assert!(std::mem::take(&mut model.sending), "each send is answered once");
            let broken = matches!(result, Err(Errno::EPIPE | Errno::ECONNRESET));
            assert!(!broken || model.far.is_none(), "only a far end that is gone breaks a send");
        }
        Seen::Writable(_) => {
            assert!(!swallows && std::mem::take(&mut model.polling), "each poll once");
        }
        Seen::PeerAddress(..) | Seen::Failed(_, Operation::PeerAddress, _) => {
            assert!(!swallows && std::mem::take(&mut model.asking), "each question once");
        }
        Seen::Closed(_) => {
            assert!(model.closing && !model.sending, "the end comes last, and only when asked for");
            models.remove(&slot);
            *ended += 1;
        }
        other => panic!("a walk does not cause {other:?}"),
    }
}
