//! Lines that the process writes for somebody else, by a thread that does nothing else.
//!
//! ```text
//!   any thread ──offer──> queue (LINES_MAX, BYTES_MAX) ──> one thread ──write(2)──> a descriptor
//!                 │                                                 (may wait for ever)
//!                 └── no room: the line is lost, and counted
//! ```
//! Who reads a descriptor of the process, and whether he does, is not for the process to say: a pipe
//! that nobody empties holds up every write, for ever. So nobody writes but this thread, and nobody
//! waits for it longer than he says.
//!
//! Invariants: `offer` never waits; lines leave in their order; what is lost is counted, and told
//! once all that waited is written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};

/// Lines that may wait. The queue has its place for each from the start.
const LINES_MAX: usize = 4_096;

/// Bytes of the lines that may wait.
const BYTES_MAX: usize = 1 << 20;

/// Stack of the thread: it writes, and formats one line.
const STACK_BYTES: usize = 256 << 10;

/// Time between two looks of who waits for the queue to be empty.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The queue before one descriptor.
#[derive(Debug)]
pub struct Lines {
    sender: Sender<Box<[u8]>>,
    counts: Arc<Counts>,
}

/// What waits and what was lost.
#[derive(Debug, Default)]
struct Counts {
    /// Lines that are not written yet, the one that is being written among them.
    waiting: AtomicUsize,
    /// Their bytes.
    waiting_bytes: AtomicUsize,
    /// Lines that nobody will read: there was no room, or the write failed.
    lost: AtomicU64,
}

impl Lines {
    /// Starts the thread `name`, which alone writes to `sink` from here on. `tell` is called on it
    /// with the number of lost lines, and may offer a line about them.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        name: &str,
        sink: impl Write + Send + 'static,
        tell: impl FnMut(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = channel::bounded(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let of_thread = Arc::clone(&counts);
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || write_all(&receiver, &of_thread, sink, tell))?;
        Ok(Self { sender, counts })
    }

    /// Has this written, its line end included. Where there is no room it is lost.
    pub fn offer(&self, line: &[u8]) {
        let Counts { waiting, waiting_bytes, lost } = &*self.counts;
        let bytes = line.len();
        // Counted first: what is in the queue is always counted, so who flushes misses nothing.
        waiting.fetch_add(1, SeqCst);
        let has_room = waiting_bytes.fetch_add(bytes, SeqCst) + bytes <= BYTES_MAX;
        if !has_room || self.sender.try_send(line.into()).is_err() {
            lost.fetch_add(1, SeqCst);
            self.counts.leave(bytes);
        }
    }

    /// Waits until all is written that was offered, for this long at most.
    pub fn flush(&self, at_most: Duration) {
        let end = Instant::now() + at_most;
        // Ends: at the deadline. A round is one sleep.
        while self.counts.waiting.load(SeqCst) > 0 && Instant::now() < end {
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Lines that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(SeqCst)
    }
}

impl Counts {
    /// A line waits no more.
    fn leave(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, SeqCst);
        self.waiting.fetch_sub(1, SeqCst);
    }
}

/// The life of the thread: as long as somebody can offer.
fn write_all(
    lines: &Receiver<Box<[u8]>>,
    counts: &Counts,
    mut sink: impl Write,
    mut tell: impl FnMut(u64),
) {
    let mut told = 0;
    // Ends: with the queue. A round is one line.
    for line in lines {
        let written = sink.write_all(&line).is_ok();
        if !written {
            counts.lost.fetch_add(1, SeqCst);
        }
        let lost = counts.lost.load(SeqCst);
        // Not behind a write that failed: a line about it would fail, and so on.
        if written && lost > told && lines.is_empty() {
            tell(lost - told);
            told = lost;
        }
        // Last: who flushes waits for what was told, too.
        counts.leave(line.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, OnceLock, mpsc};

    use super::*;

    /// A sink that takes a line when it is let, and keeps it.
    struct Gate {
        open: mpsc::Receiver<()>,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(io::Error::other)?;
            let line = String::from_utf8(bytes.to_vec()).unwrap();
            self.taken.lock().unwrap().push(line);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The queue, what opens its gate, and what came through.
    type Rig = (Arc<OnceLock<Lines>>, mpsc::Sender<()>, Arc<Mutex<Vec<String>>>);

    fn rig() -> Rig {
        let (let_through, open) = mpsc::channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate { open, taken: Arc::clone(&taken) };
        let lines = Arc::new(OnceLock::<Lines>::new());
        let own = Arc::clone(&lines);
        let tell = move |lost| own.get().unwrap().offer(format!("{lost} were lost").as_bytes());
        lines.set(Lines::start("test", gate, tell).unwrap()).unwrap();
        (lines, let_through, taken)
    }

    #[test]
    fn what_has_no_room_is_lost_and_told_when_there_is_some() {
        let (lines, let_through, taken) = rig();
        let lines = lines.get().unwrap();
        lines.offer(b"first");
        // The thread is in the write of the first; the queue takes as many as it has places.
        while !lines.sender.is_empty() {
            thread::yield_now();
        }
        (0..LINES_MAX + 7).for_each(|_| lines.offer(b"next"));
        assert_eq!(lines.lost(), 7);
        let begun = Instant::now();
        lines.flush(Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20), "it waits, and not for ever");
        (0..LINES_MAX + 2).for_each(|_| let_through.send(()).unwrap());
        lines.flush(Duration::from_secs(60));
        assert_eq!(taken.lock().unwrap().last().unwrap(), "7 were lost");
        assert_eq!(lines.lost(), 7);
    }

    #[test]
    fn bytes_bound_the_queue_as_lines_do() {
        let (lines, let_through, _taken) = rig();
        let lines = lines.get().unwrap();
        let long = vec![b'x'; BYTES_MAX / 4];
        (0..6).for_each(|_| lines.offer(&long));
        assert_eq!(lines.lost(), 2);
        (0..5).for_each(|_| let_through.send(()).unwrap());
        lines.flush(Duration::from_secs(60));
        let_through.send(()).unwrap();
        lines.offer(&long);
        assert_eq!(lines.lost(), 2, "there is room again");
    }

    #[test]
    fn a_reader_who_has_gone_costs_lines_and_nothing_else() {
        let (lines, let_through, taken) = rig();
        drop(let_through);
        let lines = lines.get().unwrap();
        (0..3).for_each(|_| lines.offer(b"nobody"));
        lines.flush(Duration::from_secs(60));
        assert_eq!(lines.lost(), 3);
        assert!(taken.lock().unwrap().is_empty());
    }
}
