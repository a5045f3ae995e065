//! Which protocol a new connection speaks, from its first bytes.
//!
//! One port serves them all. Owns the signatures and the few bytes that came before one was
//! complete; the owner of the connection decides what each protocol gets. Invariant: the verdict
//! falls at the first byte that allows it, in whichever pieces the bytes come, and nothing is
//! ever answered to bytes that fit no signature: a scanner learns nothing, and no reply amplifies.
//!
//! ```text
//!              +-- a prefix of some signature
//!              v        |
//!   ------> undecided --+
//!              |
//!              +--> decided: Binary | Http | Tls | Proxy | Unknown
//! ```
//! Sources: RFC 9112 section 3 (request line), RFC 8446 section 5.1 (record header), HAProxy's
//! PROXY protocol sections 2.1 and 2.2.

use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PREAMBLE_BYTES;

/// How each protocol starts. HTTP is known by the methods that have a standard: any word with a
/// space behind it would also fit the greetings of other protocols, and garbage.
const SIGNATURES: [(&[u8], Protocol); 14] = [
    (&PREAMBLE, Protocol::Binary),
    (b"GET ", Protocol::Http),
    (b"HEAD ", Protocol::Http),
    (b"POST ", Protocol::Http),
    (b"PUT ", Protocol::Http),
    (b"PATCH ", Protocol::Http),
    (b"DELETE ", Protocol::Http),
    (b"OPTIONS ", Protocol::Http),
    (b"CONNECT ", Protocol::Http),
    (b"TRACE ", Protocol::Http),
    // A handshake record of any version.
    (b"\x16\x03", Protocol::Tls),
    // Version 1 of the PROXY protocol would pass as a method.
    (b"PROXY ", Protocol::Proxy),
    (b"\r\n\r\n\0\r\nQUIT\n", Protocol::Proxy),
    // The preface of HTTP/2 is answered like a request in an unknown version of HTTP.
    (b"PRI ", Protocol::Http),
];

/// What may stand in front of a request.
const EMPTY_LINE: &[u8] = b"\r\n";

const SIGNATURE_BYTES_MAX: usize = 12;

/// An undecided start is shorter than some signature.
const HELD_BYTES_MAX: usize = SIGNATURE_BYTES_MAX - 1;

/// What the first bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Protocol {
    /// The binary protocol. Its preamble is read.
    Binary,
    /// A request of HTTP/1: a WebSocket upgrade or REST.
    Http,
    /// A TLS record. A port that offers no TLS closes without an answer.
    Tls,
    /// A header of the PROXY protocol, either version. Whoever is not a listed balancer is closed
    /// without an answer: the header names any address that its sender likes.
    Proxy,
    /// Anything else: closed without an answer.
    Unknown,
}

impl Protocol {
    /// The value of the `protocol` label of its counters. A closed set; names are stable.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Unknown => "unknown",
        }
    }
}

/// What the sniffer knows after a piece of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// More bytes are needed; the input is held.
    Undecided,
    /// The protocol is known. The input from `consumed` on is the protocol's; before it come the
    /// [`Sniffer::held`] bytes, except for [`Protocol::Binary`], whose preamble they were.
    Decided {
        /// The protocol.
        protocol: Protocol,
        /// Bytes of this input that belong to the preamble; 0 but for [`Protocol::Binary`].
        consumed: usize,
    },
}

/// The first bytes of one connection. 12 bytes of state.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sniffer {
    held: [u8; HELD_BYTES_MAX],
    held_bytes: u8,
}

impl Sniffer {
    /// A sniffer before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next bytes. Not to be called again once decided.
    pub fn feed(&mut self, input: &[u8]) -> Verdict {
        let held = usize::from(self.held_bytes);
        let added = input.len().min(SIGNATURE_BYTES_MAX - held);
        let mut start = [0; SIGNATURE_BYTES_MAX];
        start[..held].copy_from_slice(self.held());
        start[held..held + added].copy_from_slice(&input[..added]);
        let start = &start[..held + added];
        match judge(start) {
            Some(Protocol::Binary) => {
                Verdict::Decided { protocol: Protocol::Binary, consumed: PREAMBLE_BYTES - held }
            }
            Some(protocol) => Verdict::Decided { protocol, consumed: 0 },
            None => {
                self.held[..start.len()].copy_from_slice(start);
                self.held_bytes = start.len() as u8;
                Verdict::Undecided
            }
        }
    }

    /// Bytes of earlier inputs, in front of the one that decided.
    pub fn held(&self) -> &[u8] {
        &self.held[..usize::from(self.held_bytes)]
    }
}

/// The protocol of a connection that starts with `start`; `None` while it fits several, or only a
/// part of one. A request may have one empty line in front (RFC 9112 section 2.2).
fn judge(start: &[u8]) -> Option<Protocol> {
    let mut undecided = false;
    let request = start.strip_prefix(EMPTY_LINE);
    for (signature, protocol) in SIGNATURES {
        let request = request.filter(|_| protocol == Protocol::Http);
        for start in [Some(start), request].into_iter().flatten() {
            if start.starts_with(signature) {
                return Some(protocol);
            }
            undecided |= signature.starts_with(start);
        }
    }
    if undecided { None } else { Some(Protocol::Unknown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds octets until a verdict; returns it and how many octets it took.
    fn by_octets(bytes: &[u8]) -> (Verdict, usize) {
        let mut sniffer = Sniffer::new();
        for (place, byte) in bytes.iter().enumerate() {
            assert_eq!(sniffer.held(), &bytes[..place]);
            let verdict = sniffer.feed(&[*byte]);
            if verdict != Verdict::Undecided {
                return (verdict, place + 1);
            }
        }
        (Verdict::Undecided, bytes.len())
    }

    #[test]
    fn every_signature_is_shorter_than_the_buffer_and_a_prefix_of_no_other() {
        for (place, (signature, protocol)) in SIGNATURES.iter().enumerate() {
            let in_front = if *protocol == Protocol::Http { EMPTY_LINE.len() } else { 0 };
            assert!(in_front + signature.len() <= SIGNATURE_BYTES_MAX);
            for (other, _) in &SIGNATURES[place + 1..] {
                assert!(!signature.starts_with(other) && !other.starts_with(signature));
            }
        }
    }

    #[test]
    fn every_signature_in_every_cut_is_decided_at_its_last_byte() {
        for (signature, protocol) in SIGNATURES {
            assert_eq!(by_octets(signature).1, signature.len());
            let bytes = [signature, b"what follows"].concat();
            for cut in 0..bytes.len() {
                let mut sniffer = Sniffer::new();
                let first = sniffer.feed(&bytes[..cut]);
                let (verdict, earlier) = match first {
                    Verdict::Undecided => (sniffer.feed(&bytes[cut..]), cut),
                    decided => (decided, 0),
                };
                assert_eq!(first != Verdict::Undecided, cut >= signature.len());
                let expected =
                    if protocol == Protocol::Binary { PREAMBLE_BYTES - earlier } else { 0 };
                assert_eq!(verdict, Verdict::Decided { protocol, consumed: expected });
                assert_eq!(sniffer.held(), &bytes[..earlier]);
            }
        }
    }

    #[test]
    fn every_other_start_is_unknown_at_its_first_wrong_byte() {
        for (bytes, octets) in [
            (&b"\0"[..], 1),
            (b"get / HTTP/1.1", 1),
            (b"GOT", 2),
            (b"GETX", 4),
            (b"RPP2", 4),
            (b"SSH-2.0-", 1),
            (b"EHLO there", 1),
            (b"\x16\x02", 2),
            (b"\r\n\r\nGET /", 5),
            (b"\r\nRPP1", 3),
            (b"\n\r\nGET /", 1),
            (b"\x80\x80\x01\x03", 1),
        ] {
            let unknown = Verdict::Decided { protocol: Protocol::Unknown, consumed: 0 };
            assert_eq!(by_octets(bytes), (unknown, octets), "{bytes:?}");
            assert_eq!(Sniffer::new().feed(bytes), unknown, "{bytes:?}");
        }
    }

    #[test]
    fn every_first_byte_is_judged() {
        let undecided: Vec<u8> = (0..=u8::MAX).filter(|&byte| judge(&[byte]).is_none()).collect();
        assert_eq!(undecided, b"\r\x16CDGHOPRT");
    }
}
