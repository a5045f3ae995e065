//! A bad network: what goes through is split, delayed, stalled, swallowed, and cut by a reset.
//!
//! Each connection has a thread for each direction. Order is kept and no byte is changed, as TCP
//! promises; when bytes are swallowed, nothing follows them, and the connection is reset soon. What
//! happens is drawn from the seed; how the bytes fall into reads is not, so a replay is alike, not
//! the same.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::seeded::Chance;

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// How long a read waits, and so how soon the end of a run is seen.
const READ_PATIENCE: Duration = Duration::from_millis(50);

/// How long a write waits for a side that takes nothing.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks for a connection.
const ACCEPT_POLL: Duration = Duration::from_millis(5);

/// How long a piece is held back, milliseconds.
const DELAY_MS: std::ops::Range<u64> = 1..40;

/// How long a direction stands still, milliseconds.
const STALL_MS: std::ops::Range<u64> = 200..1500;

/// Pieces into which one read is split, at most.
const PIECES: std::ops::Range<u64> = 2..9;

/// What the network may do to one read.
enum Mischief {
    None,
    Split,
    Delay,
    Stall,
    Swallow,
    Reset,
}

/// What all threads share.
struct Network {
    chaos: AtomicBool,
    stop: AtomicBool,
    connections: AtomicU64,
    splits: AtomicU64,
    stalls: AtomicU64,
    swallowed: AtomicU64,
    resets: AtomicU64,
}

/// The network between a fleet and its server.
pub(super) struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and connects everyone who comes with `server`. It behaves well at first.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(super) fn start(server: SocketAddr, seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let network = Arc::new(Network {
            chaos: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            splits: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            resets: AtomicU64::new(0),
        });
        let shared = Arc::clone(&network);
        let listener = thread::spawn(move || accept(&listener, server, seed, &shared));
        Ok(Self { address, network, listener })
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it behaves badly from now on.
    pub(super) fn set_chaos(&self, chaos: bool) {
        self.network.chaos.store(chaos, Ordering::Relaxed);
    }

    /// Ends it, and tells what it did.
    ///
    /// # Errors
    /// When it did nothing: then the run proves no more than one without it.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.network.stop.store(true, Ordering::Relaxed);
        ensure!(self.listener.join().is_ok(), "the proxy panicked; its message stands above");
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let network = &self.network;
        let rows = [
            ("connections through the proxy", count(&network.connections)),
            ("reads split", count(&network.splits)),
            ("stalls", count(&network.stalls)),
            ("swallowed", count(&network.swallowed)),
            ("resets", count(&network.resets)),
        ];
        for (name, number) in rows {
            println!("  {name:<30} {number:>9}");
            ensure!(number > 0, "the proxy counted no {name}: it was not in the way");
        }
        Ok(())
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, seed: u64, network: &Arc<Network>) {
    let mut pumps: Vec<JoinHandle<()>> = Vec::new();
    while !network.stop.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(ACCEPT_POLL);
            continue;
        };
        // A server that is down refuses: then the client is refused as well, by an end at once.
        let Ok(server) = TcpStream::connect(server) else { continue };
        let number = network.connections.fetch_add(1, Ordering::Relaxed);
        let both = [(&client, &server, 0), (&server, &client, 1)];
        for (from, to, direction) in both {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            let chance = Chance::new(seed, (1 << 32) + 2 * number + direction);
            let network = Arc::clone(network);
            pumps.push(thread::spawn(move || pump(from, to, chance, &network)));
        }
        pumps.retain(|pump| !pump.is_finished());
    }
    for pump in pumps {
        if let Err(panic) = pump.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Carries one direction until either side ends; then both do.
fn pump(mut from: TcpStream, mut to: TcpStream, mut chance: Chance, network: &Network) {
    let carried = carry(&mut from, &mut to, &mut chance, network);
    if carried.is_err() {
        for stream in [&from, &to] {
            // A reset instead of an end; one that is gone already needs none.
            let _ = setsockopt(stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 });
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn carry(
    from: &mut TcpStream,
    to: &mut TcpStream,
    chance: &mut Chance,
    network: &Network,
) -> std::io::Result<()> {
    from.set_read_timeout(Some(READ_PATIENCE))?;
    to.set_write_timeout(Some(WRITE_PATIENCE))?;
    to.set_nodelay(true)?;
    let mut buffer = vec![0; READ_BYTES];
    while !network.stop.load(Ordering::Relaxed) {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => &buffer[..length],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let pause = |range, chance: &mut Chance| {
            thread::sleep(Duration::from_millis(chance.within(range)));
        };
        match network.mischief(chance) {
            Mischief::None => {}
            Mischief::Split => {
                count(&network.splits);
                split(bytes, to, chance)?;
                continue;
            }
            Mischief::Delay => pause(DELAY_MS, chance),
            Mischief::Stall => {
                count(&network.stalls);
                pause(STALL_MS, chance);
            }
            Mischief::Swallow => {
                count(&network.swallowed);
                pause(STALL_MS, chance);
                return Err(ErrorKind::ConnectionReset.into());
            }
            Mischief::Reset => {
                count(&network.resets);
                to.write_all(&bytes[..chance.within(0..bytes.len() as u64) as usize])?;
                return Err(ErrorKind::ConnectionReset.into());
            }
        }
        to.write_all(bytes)?;
    }
    Ok(())
}

/// Writes `bytes` in pieces, with a pause behind each.
fn split(bytes: &[u8], to: &mut TcpStream, chance: &mut Chance) -> std::io::Result<()> {
    let mut rest = bytes;
    for _ in 0..chance.within(PIECES) {
        let (piece, behind) = rest.split_at(chance.within(0..rest.len() as u64 + 1) as usize);
        to.write_all(piece)?;
        thread::sleep(Duration::from_micros(chance.within(0..500)));
        rest = behind;
    }
    to.write_all(rest)
}

impl Network {
    fn mischief(&self, chance: &mut Chance) -> Mischief {
        if !self.chaos.load(Ordering::Relaxed) {
            return Mischief::None;
        }
        match chance.within(0..400) {
            0 => Mischief::Swallow,
            1 => Mischief::Reset,
            2..=3 => Mischief::Stall,
            4..=40 => Mischief::Delay,
            41..=140 => Mischief::Split,
            _ => Mischief::None,
        }
    }
}
