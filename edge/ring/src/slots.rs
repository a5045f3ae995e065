//! What user space knows about each slot: four bytes, and nothing else for a slot that is idle.
//!
//! ```text
//!   31           12 11   9 8    7  6..0
//!   [ generation  ] [phase][input] [flags]
//!
//!   Free -> Open -> Closing -> Leaving -> Free     Closing: waits for operations to complete
//!            |  \                ^                 Leaving: the close itself is with the kernel
//!            |   +-> Moving -----+   (back to Open if the move fails)
//!            +-----> Installing -+   (back to Open if the install fails)
//!   Free -> Reclaiming -> Free                     found in use without an announcement
//! ```

use crate::rings::{ReceiveMode, Slot};

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Free = 0,
    Open,
    Closing,
    Leaving,
    Moving,
    Installing,
    Reclaiming,
}

/// What the input side does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Input {
    Idle = 0,
    Poll,
    OneShot,
    Multishot,
}

impl From<ReceiveMode> for Input {
    fn from(mode: ReceiveMode) -> Self {
        match mode {
            ReceiveMode::OneShot => Self::OneShot,
            ReceiveMode::Multishot => Self::Multishot,
        }
    }
}

/// One bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// `stop_receive` was called and not yet answered.
    Stopping = 1 << 0,
    /// The receive is not with the kernel but on the list of those to arm again.
    ReArm = 1 << 1,
    Sending = 1 << 2,
    PollingWrite = 1 << 3,
    Shutting = 1 << 4,
    AskingPeer = 1 << 5,
    /// The kernel has said that there is input: the next receive need not poll first.
    Readable = 1 << 6,
}

/// The state of one slot, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotState(u32);

const INPUT_SHIFT: u32 = 7;
const INPUT_MASK: u32 = 0b11 << INPUT_SHIFT;
const PHASE_SHIFT: u32 = 9;
const PHASE_MASK: u32 = 0b111 << PHASE_SHIFT;
const GENERATION_SHIFT: u32 = 12;
const GENERATION_MASK: u32 = !0 << GENERATION_SHIFT;

impl SlotState {
    pub(crate) fn phase(self) -> Phase {
        match (self.0 & PHASE_MASK) >> PHASE_SHIFT {
            0 => Phase::Free,
            1 => Phase::Open,
            2 => Phase::Closing,
            3 => Phase::Leaving,
            4 => Phase::Moving,
            5 => Phase::Installing,
            _ => Phase::Reclaiming,
        }
    }

    pub(crate) fn set_phase(&mut self, phase: Phase) {
        self.0 = self.0 & !PHASE_MASK | (phase as u32) << PHASE_SHIFT;
    }

    pub(crate) fn input(self) -> Input {
        match (self.0 & INPUT_MASK) >> INPUT_SHIFT {
            0 => Input::Idle,
            1 => Input::Poll,
            2 => Input::OneShot,
            _ => Input::Multishot,
        }
    }

    pub(crate) fn set_input(&mut self, input: Input) {
        self.0 = self.0 & !INPUT_MASK | (input as u32) << INPUT_SHIFT;
    }

    /// # Panics
    ///
    /// If the input side is not idle.
    pub(crate) fn begin_input(&mut self, slot: Slot, input: Input) {
        let idle = self.input() == Input::Idle && !self.has(Flag::Stopping);
        assert!(idle, "{slot:?}: the input side is idle when it is armed");
        self.set_input(input);
    }

    /// Begins what may be under way only once at a time: a send, for otherwise the order of the
    /// stream is not guaranteed; any other, for its answer could not be told from the earlier's.
    ///
    /// # Panics
    ///
    /// If it is under way.
    pub(crate) fn begin(&mut self, slot: Slot, flag: Flag) {
        assert!(!self.has(flag), "{slot:?}: {flag:?} is one at a time");
        self.set(flag);
    }

    /// The slot leaves this ring set with the connection.
    ///
    /// # Panics
    ///
    /// If anything is armed or in flight.
    pub(crate) fn begin_departure(&mut self, slot: Slot, phase: Phase) {
        assert!(self.is_quiet(), "{slot:?}: nothing is armed when it departs");
        self.set_phase(phase);
    }

    pub(crate) fn has(self, flag: Flag) -> bool {
        self.0 & flag as u32 != 0
    }

    pub(crate) fn set(&mut self, flag: Flag) {
        self.0 |= flag as u32;
    }

    /// Clears the flag; says whether it was set.
    pub(crate) fn clear(&mut self, flag: Flag) -> bool {
        let had = self.has(flag);
        self.0 &= !(flag as u32);
        had
    }

    fn generation(self) -> u32 {
        self.0 >> GENERATION_SHIFT
    }

    /// The input operation is with the kernel.
    pub(crate) fn input_in_flight(self) -> bool {
        self.input() != Input::Idle && !self.has(Flag::ReArm)
    }

    /// Nothing of either side is with the kernel or waits to be.
    fn is_quiet(self) -> bool {
        self.input() == Input::Idle && !self.has(Flag::Stopping) && !self.output_in_flight()
    }

    /// The kernel holds an operation of this slot.
    pub(crate) fn in_flight(self) -> bool {
        self.input_in_flight() || self.output_in_flight()
    }

    fn output_in_flight(self) -> bool {
        self.has(Flag::Sending)
            || self.has(Flag::PollingWrite)
            || self.has(Flag::Shutting)
            || self.has(Flag::AskingPeer)
    }
}

/// The slots that have been in use; grows to the highest index seen, which the kernel keeps low.
#[derive(Debug)]
pub(crate) struct SlotTable {
    states: Vec<SlotState>,
    in_use: u32,
    capacity: u32,
}

impl SlotTable {
    pub(crate) fn new(capacity: u32) -> Self {
        // Address space for all: a vector that doubles would hold, and copy, up to twice as much.
        Self { states: Vec::with_capacity(capacity as usize), in_use: 0, capacity }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The kernel put a descriptor at `index`.
    ///
    /// # Panics
    ///
    /// If the slot is in use: the kernel gives out only free ones.
    pub(crate) fn occupy(&mut self, index: u32) -> Slot {
        assert!(index < self.capacity, "the kernel stays inside the registered table");
        let position = index as usize;
        if position >= self.states.len() {
            self.states.resize(position + 1, SlotState::default());
        }
        let state = &mut self.states[position];
        assert_eq!(state.phase(), Phase::Free, "slot {index} is given out only when free");
        state.set_phase(Phase::Open);
        self.in_use += 1;
        Slot::new(index, state.generation())
    }

    /// The present life of an index (the next one while it is free), and its phase.
    pub(crate) fn current(&self, index: u32) -> (Slot, Phase) {
        let state = self.states.get(index as usize).copied().unwrap_or_default();
        (Slot::new(index, state.generation()), state.phase())
    }

    /// The state of this life of the slot; `None` if it is over.
    pub(crate) fn lookup(&mut self, slot: Slot) -> Option<&mut SlotState> {
        let state = self.states.get_mut(slot.index() as usize)?;
        (state.phase() != Phase::Free && state.generation() == slot.generation()).then_some(state)
    }

    /// # Panics
    ///
    /// If this life of the slot is over or ending: the caller holds a stale handle.
    pub(crate) fn open(&mut self, slot: Slot) -> &mut SlotState {
        let state = self.lookup(slot).expect("the slot is in use");
        assert_eq!(state.phase(), Phase::Open, "{slot:?} is open");
        state
    }

    /// The kernel has taken the descriptor out.
    pub(crate) fn release(&mut self, slot: Slot) {
        let state = self.lookup(slot).expect("only a slot in use is released");
        assert!(!state.in_flight(), "{slot:?} is released only when nothing is in flight");
        let next = state.0.wrapping_add(1 << GENERATION_SHIFT) & GENERATION_MASK;
        *state = SlotState(next);
        self.in_use -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bytes_per_slot() {
        assert_eq!(size_of::<SlotState>(), 4);
    }

    #[test]
    fn parts_of_the_state_do_not_touch_each_other() {
        let mut table = SlotTable::new(8);
        let slot = table.occupy(3);
        let state = table.open(slot);
        state.set(Flag::Readable);
        state.set_input(Input::Multishot);
        state.set(Flag::Stopping);
        state.set_phase(Phase::Installing);
        assert_eq!(state.input(), Input::Multishot);
        assert!(state.clear(Flag::Stopping) && !state.clear(Flag::Stopping));
        assert!(state.has(Flag::Readable) && state.in_flight());
        state.set(Flag::ReArm);
        assert!(!state.in_flight() && !state.is_quiet());
        assert_eq!((state.phase(), state.generation()), (Phase::Installing, 0));
    }

    #[test]
    fn a_handle_of_an_earlier_life_finds_nothing() {
        let mut table = SlotTable::new(8);
        let first = table.occupy(0);
        table.release(first);
        assert!(table.lookup(first).is_none());
        let second = table.occupy(0);
        assert_ne!(first, second);
        assert!(table.lookup(first).is_none() && table.lookup(second).is_some());
        assert_eq!(table.in_use(), 1);
    }

    #[test]
    fn the_generation_wraps_without_disturbing_the_phase() {
        let mut table = SlotTable::new(1);
        let first = table.occupy(0);
        table.release(first);
        for _ in 1..Slot::GENERATIONS {
            let slot = table.occupy(0);
            table.release(slot);
        }
        assert_eq!(table.occupy(0), first);
    }

    #[test]
    #[should_panic(expected = "given out only when free")]
    fn a_slot_given_out_twice_is_a_bug() {
        let mut table = SlotTable::new(8);
        table.occupy(2);
        table.occupy(2);
    }
}
