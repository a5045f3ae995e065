//! Signals: how the server is told to stop, to stop at once, and to read its settings again.
//!
//! ```text
//!   SIGTERM, SIGINT   before the server stands: ends the process, with 0
//!                     the first: in order, and by force when the time for that is over
//!                     the second: at once
//!   SIGHUP            reads again what can be read again, once the server stands; never ends anything
//!   SIGXFSZ           never taken: a file at the limit of its size is an error of the write
//! ```
//! A server that does not stand yet owes nobody anything: a start can be cut off anywhere, as by
//! `kill -9`, and the next one recovers. So its end waits for no disk.
//!
//! Owns the thread that takes signals and the one that ends a stop which takes too long. Both wait
//! for nothing else: a worker that is stuck, a disk that does not answer or a runtime without a
//! free thread cannot keep the process alive. Signals are blocked in every other thread, and from the
//! first moment of the process ([`hold`]), so they come here and nowhere else.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::Kind;
use crate::{log, output};

/// What waits for the server at most: one stop, one reload, which is as good as many, and one failure.
const WAITING_MAX: usize = 3;

/// Exit codes of a process that a signal ended are 128 and its number, as shells write them.
const SIGNALLED: i32 = 128;

/// Stack of these threads: they format one line.
const STACK_BYTES: usize = 256 << 10;

/// What the server is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Leave in order; the name of the signal.
    Stop(&'static str),
    /// Leave in order: a part has failed without which there is nothing to serve.
    Failed,
    /// Read the settings again.
    Reload,
}

/// What the process waits for where it has said nothing else.
const DOING_AT_FIRST: &str = "main";

/// The signals that a server takes.
fn ours() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Keeps signals until [`Signals::take`] or [`release`]. To be called first of all: one that comes
/// before ends the process without a word.
pub fn hold() {
    // Fails for no set of signals that exist.
    let _ = ours().thread_block();
}

/// Lets signals do what they do by default, at once to those that came.
pub fn release() {
    let _ = ours().thread_unblock();
}

/// What the server does, and how long it may take to stop: known once it stands.
#[derive(Debug, Default)]
struct Life {
    stands: AtomicBool,
    reload_waits: AtomicBool,
    stop_max: Mutex<Duration>,
    doing: Mutex<&'static str>,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    told: Receiver<Told>,
    tell: SyncSender<Told>,
    life: Arc<Life>,
}

/// Lets a part of the server end it, as a signal would.
#[derive(Clone, Debug)]
pub struct Failing {
    tell: SyncSender<Told>,
    life: Arc<Life>,
}

impl Failing {
    /// There is nothing to serve any more. The stop has its time from here on.
    pub fn report(&self) {
        end_in_time(&self.life);
        // There is room for one; it is reported once.
        let _ = self.tell.try_send(Told::Failed);
    }
}

/// Says what a stop is about, for the line that ends it by force.
#[derive(Clone, Debug)]
pub struct Doing(Arc<Life>);

impl Doing {
    /// From here on the process waits for this.
    pub fn set(&self, what: &'static str) {
        *self.0.doing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

impl Signals {
    /// Takes the signals from here on. To be called before any other thread is started: threads
    /// inherit what is blocked.
    ///
    /// # Errors
    /// If the system takes no mask or gives no thread.
    pub fn take() -> io::Result<Self> {
        let ours = ours();
        ours.thread_block()?;
        // A write beyond RLIMIT_FSIZE is an error like any other, and not the end of the process.
        SigSet::from(Signal::SIGXFSZ).thread_block()?;
        let (tell, told) = mpsc::sync_channel(WAITING_MAX);
        let life = Arc::new(Life { doing: Mutex::new(DOING_AT_FIRST), ..Life::default() });
        let (of_thread, to_tell) = (Arc::clone(&life), tell.clone());
        start("signals", move || run(&ours, &to_tell, &of_thread))?;
        Ok(Self { told, tell, life })
    }

    /// The server stands. A stop takes at most `stop_max` from here on; then the process ends, as it
    /// is.
    pub fn server_stands(&self, stop_max: Duration) {
        *self.life.stop_max.lock().unwrap_or_else(PoisonError::into_inner) = stop_max;
        self.life.stands.store(true, SeqCst);
    }

    /// The way to end the server from within.
    pub fn failing(&self) -> Failing {
        Failing { tell: self.tell.clone(), life: Arc::clone(&self.life) }
    }

    /// What a stop says about where it is.
    pub fn doing(&self) -> Doing {
        Doing(Arc::clone(&self.life))
    }

    /// Waits for the next.
    ///
    /// # Panics
    /// If the thread that takes signals has ended, which it does with the process.
    pub fn next(&self) -> Told {
        let told = self.told.recv().expect("signals are taken until the process ends");
        if told == Told::Reload {
            // What is signalled from here on may be about what this reload does not see.
            self.life.reload_waits.store(false, SeqCst);
        }
        told
    }
}

/// The life of the thread that takes signals: as long as the process, one signal a round.
fn run(ours: &SigSet, tell: &SyncSender<Told>, life: &Arc<Life>) {
    let mut is_stopping = false;
    // Ends: with the process. A round is one signal.
    loop {
        let signal = match ours.wait() {
            Ok(Signal::SIGHUP) => {
                if !life.reload_waits.swap(true, SeqCst) {
                    let _ = tell.try_send(Told::Reload);
                }
                continue;
            }
            Ok(signal) => signal,
            // Fails for no set of signals that exist.
            Err(_) => continue,
        };
        if is_stopping {
            tracing::warn!(signal = signal.as_str(), "ending at once");
            end(SIGNALLED + signal as i32);
        }
        if !life.stands.load(SeqCst) {
            end_of_start(signal.as_str());
        }
        is_stopping = true;
        end_in_time(life);
        // There is room: this is the only stop, and at most one reload waits beside it.
        let _ = tell.try_send(Told::Stop(signal.as_str()));
    }
}

/// Ends a process that does not serve yet.
fn end_of_start(signal: &str) -> ! {
    if log::is_started() {
        tracing::info!(signal, "stopped before it served: the next start goes on from here");
    } else {
        output::complain(&format!("stopped by {signal} before it read its settings"));
    }
    end(0)
}

/// Ends the process when the time of a stop is over.
fn end_in_time(life: &Arc<Life>) {
    let stop_max = *life.stop_max.lock().unwrap_or_else(PoisonError::into_inner);
    let life = Arc::clone(life);
    let started = start("stop-deadline", move || {
        thread::sleep(stop_max);
        let waits_for = *life.doing.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::error!(waits_for, "the stop has not ended in its time: ending as it is");
        end(Kind::Unavailable as i32);
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread watches over the stop; a second signal ends it");
    }
}

fn end(code: i32) -> ! {
    output::flush();
    std::process::exit(code)
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(run).map(drop)
}
