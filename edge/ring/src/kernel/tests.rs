//! Behaviour that needs a hand behind the ring's back: descriptors in slots that nobody
//! announced, and a kernel that cannot tell a peer's address.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::bank::MAIN;
use crate::{Completion, RingConfig, RingSet, Rings, Slot, Wait};

const TURNS_MAX: usize = 2_000;

fn open(slots_max: u32) -> (RingSet, SocketAddr) {
    let config = RingConfig { slots_max, buffers: 16, ..RingConfig::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut rings = RingSet::open(&config).unwrap();
    rings.listen(listener.into());
    (rings, address)
}

fn until<T>(rings: &mut RingSet, mut pick: impl FnMut(Completion<'_>) -> Option<T>) -> T {
    for _ in 0..TURNS_MAX {
        let mut picked = None;
        rings.submit_and_wait(Wait::at_most(Duration::from_millis(2)), |completion| {
            picked = picked.take().or_else(|| pick(completion));
        });
        if let Some(picked) = picked {
            return picked;
        }
    }
    panic!("stuck after {TURNS_MAX} turns");
}

fn connect(rings: &mut RingSet, address: SocketAddr) -> (Slot, TcpStream) {
    let far = TcpStream::connect(address).unwrap();
    let slot = until(rings, |completion| match completion {
        Completion::Accepted { slot } => Some(slot),
        _ => None,
    });
    (slot, far)
}

#[test]
fn unannounced_slots_are_closed_and_announced_ones_are_left_alone() {
    const UNANNOUNCED: [u32; 3] = [1, 70, 2_999];
    let (mut rings, address) = open(3_000);
    let (slot, mut far) = connect(&mut rings, address);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fars = Vec::new();
    for index in UNANNOUNCED {
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        fars.push(far);
        let (near, _) = listener.accept().unwrap();
        let put =
            rings.bank.main().uring.submitter().register_files_update(index, &[near.as_raw_fd()]);
        assert_eq!(put.unwrap(), 1);
        // As who moves one here does first.
        rings.bank.took_slot(MAIN);
    }
    // Connections arrive while the search runs.
    let _waiting: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    rings.reclaim_unannounced();
    let mut accepted = 0;
    for _ in 0..TURNS_MAX {
        rings.submit_and_wait(Wait::at_most(Duration::from_millis(2)), |completion| {
            assert!(matches!(completion, Completion::Accepted { .. }), "{completion:?}");
            accepted += 1;
        });
        if accepted == 5 && rings.stats().reclaimed == UNANNOUNCED.len() as u64 {
            break;
        }
    }
    assert_eq!(rings.stats().reclaimed, UNANNOUNCED.len() as u64);
    assert_eq!(rings.slots_in_use(), 6, "the announced ones are still in use");
    for mut far in fars {
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0, "what nobody knew of is closed");
    }
    rings.send(slot, b"served".to_vec().into());
    until(&mut rings, |completion| matches!(completion, Completion::Sent { .. }).then_some(()));
    far.read_exact(&mut [0; 6]).unwrap();
}

#[test]
fn without_the_socket_command_the_address_comes_from_an_installed_descriptor() {
    let (mut rings, address) = open(16);
    rings.peer_by_install = true;
    let (slot, far) = connect(&mut rings, address);
    rings.peer_address(slot);
    let peer = until(&mut rings, |completion| match completion {
        Completion::PeerAddress { address, .. } => Some(address),
        _ => None,
    });
    assert_eq!(peer, far.local_addr().unwrap());
    assert_eq!(rings.stats().peer_address_fallbacks, 1);
    assert_eq!(rings.slots_in_use(), 1, "the slot stays");
}

#[test]
fn nothing_is_in_flight_but_what_is_armed() {
    let (mut rings, address) = open(16);
    let (slot, _far) = connect(&mut rings, address);
    // The accept and the eventfd.
    assert_eq!(rings.stats().in_flight, 2);
    rings.poll_readable(slot);
    rings.send(slot, b"x".to_vec().into());
    assert_eq!(rings.stats().in_flight, 4);
    rings.close(slot);
    until(&mut rings, |completion| matches!(completion, Completion::Closed { .. }).then_some(()));
    assert_eq!(rings.stats().in_flight, 2);
    let main = rings.bank.main();
    assert!(main.sends.is_empty() && main.questions.is_empty());
}
