//! The PROXY protocol, versions 1 and 2: one header in front of what a client says, in which a
//! balancer names the client's address.
//!
//! Owns the header's bytes, in whichever pieces they come. Does not own who may send one: the worker
//! asks the list of trusted proxies first. Invariants: at most [`V1_BYTES_MAX`] or
//! [`V2_BYTES_MAX`] bytes are taken, of which 107 are kept; a byte behind the header is never taken;
//! cuts change nothing.
//!
//! An own reader, because the header is a line of six words or 16 bytes and two addresses, and
//! because the libraries for it want the whole header in one buffer: the part that has to be right
//! here, where it ends and how much is held for it, would be ours all the same.
//!
//! Source: HAProxy's PROXY protocol, sections 2.1 (version 1) and 2.2 (version 2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use thiserror::Error;

/// Largest header of version 1, its line end included: what the specification allows.
pub const V1_BYTES_MAX: usize = 107;

/// Largest header of version 2. The specification allows 64 KiB; addresses and the extensions that
/// balancers send (of names, certificates, cloud endpoints) take some hundred bytes.
pub const V2_BYTES_MAX: usize = 4_096;

/// How version 2 starts.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// Not a header of the PROXY protocol, or a longer one than is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a header of the PROXY protocol within its limit")]
pub struct Malformed;

/// What is known after a piece of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// All input is taken; more is needed.
    Incomplete,
    /// The header has ended.
    Complete {
        /// The client's address; `None`: the proxy calls for itself (`LOCAL`, as health checks do), or
        /// does not know, or the client has no address of the internet.
        named: Option<IpAddr>,
        /// Bytes of this input that belong to the header.
        consumed: usize,
    },
}

/// Reads one header.
#[derive(Clone, Debug)]
pub struct ProxyHeaderReader {
    kept: [u8; V1_BYTES_MAX],
    taken: usize,
}

impl Default for ProxyHeaderReader {
    fn default() -> Self {
        Self { kept: [0; V1_BYTES_MAX], taken: 0 }
    }
}

impl ProxyHeaderReader {
    /// A reader before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes. Not to be called again once the header is complete or malformed.
    ///
    /// # Errors
    /// If this is no header, or a longer one than is taken.
    pub fn feed(&mut self, input: &[u8]) -> Result<Header, Malformed> {
        for (place, &byte) in input.iter().enumerate() {
            if let Some(kept) = self.kept.get_mut(self.taken) {
                *kept = byte;
            }
            self.taken += 1;
            let ended = match self.kept[0] {
                b'P' => self.line_ended(byte)?.then(|| self.line()).transpose()?,
                _ => self.block_ended()?.then(|| self.block()),
            };
            if let Some(named) = ended {
                return Ok(Header::Complete { named, consumed: place + 1 });
            }
        }
        Ok(Header::Incomplete)
    }

    fn line_ended(&self, byte: u8) -> Result<bool, Malformed> {
        if byte != b'\n' {
            return if self.taken < V1_BYTES_MAX { Ok(false) } else { Err(Malformed) };
        }
        self.kept[..self.taken].ends_with(b"\r\n").then_some(true).ok_or(Malformed)
    }

    /// The line of version 1, which has ended.
    fn line(&self) -> Result<Option<IpAddr>, Malformed> {
        let line = str::from_utf8(&self.kept[..self.taken - 2]).map_err(|_| Malformed)?;
        let words = line.strip_prefix("PROXY ").ok_or(Malformed)?;
        // What stands behind is for the proxy's own use.
        if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
            return Ok(None);
        }
        let mut words = words.split(' ');
        let mut next = || words.next().ok_or(Malformed);
        let (family, source, destination) = (next()?, next()?, next()?);
        let ports = [next()?, next()?];
        if next().is_ok() || !ports.into_iter().all(is_port) {
            return Err(Malformed);
        }
        let address = |text: &str| -> Result<IpAddr, Malformed> {
            match family {
                "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Malformed),
                "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Malformed),
                _ => Err(Malformed),
            }
        };
        address(destination)?;
        address(source).map(Some)
    }

    fn block_ended(&self) -> Result<bool, Malformed> {
        let signature = self.taken.min(V2_SIGNATURE.len());
        if self.kept[..signature] != V2_SIGNATURE[..signature] {
            return Err(Malformed);
        }
        if self.taken < V2_FIXED_BYTES {
            return Ok(false);
        }
        let length = usize::from(u16::from_be_bytes([self.kept[14], self.kept[15]]));
        let is_too_long = V2_FIXED_BYTES + length > V2_BYTES_MAX;
        if is_too_long || length < self.addresses_bytes()? {
            return Err(Malformed);
        }
        Ok(self.taken == V2_FIXED_BYTES + length)
    }

    /// Bytes that the addresses of version 2 take at least, by its command and family.
    fn addresses_bytes(&self) -> Result<usize, Malformed> {
        match (self.kept[12], self.kept[13]) {
            // `LOCAL`: the family has no meaning.
            (0x20, _) | (0x21, 0x00) => Ok(0),
            // Two addresses and two ports; of local sockets two paths. A datagram is what a client of
            // HTTP/3 sent, whose requests come here by TCP.
            (0x21, 0x11 | 0x12) => Ok(12),
            (0x21, 0x21 | 0x22) => Ok(36),
            (0x21, 0x31 | 0x32) => Ok(216),
            _ => Err(Malformed),
        }
    }

    /// The source in the block of version 2, which has ended and is good.
    fn block(&self) -> Option<IpAddr> {
        let source = &self.kept[V2_FIXED_BYTES..];
        match (self.kept[12], self.kept[13]) {
            (0x21, 0x11 | 0x12) => source.first_chunk().map(|&it| Ipv4Addr::from_octets(it).into()),
            (0x21, 0x21 | 0x22) => source.first_chunk().map(|&it| Ipv6Addr::from_octets(it).into()),
            _ => None,
        }
    }
}

/// Whether this is a port as version 1 writes it: digits alone.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2, with `more` behind the addresses.
    fn block(command: u8, family: u8, addresses: &[u8], more: usize) -> Vec<u8> {
        let length = (addresses.len() + more) as u16;
        let fixed = [&V2_SIGNATURE[..], &[command, family], &length.to_be_bytes()].concat();
        [fixed, addresses.to_vec(), vec![7; more]].concat()
    }

    fn four() -> Vec<u8> {
        [&[192, 0, 2, 1], &[127, 0, 0, 1], &[0x12, 0x34, 0x1c, 0xe8][..]].concat()
    }

    fn six() -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&address("2001:db8::1")[..], &address("::1"), &[0; 4]].concat()
    }

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        let longest = format!("PROXY UNKNOWN {}", "f".repeat(V1_BYTES_MAX - 16));
        vec![
            (line("PROXY TCP4 192.0.2.1 10.0.0.1 65535 7400"), Some("192.0.2.1")),
            (line("PROXY TCP6 2001:db8::1 ::1 0 7400"), Some("2001:db8::1")),
            (line("PROXY UNKNOWN"), None),
            (line("PROXY UNKNOWN ffff::1 ffff::2 1 2"), None),
            (line(&longest), None),
            (block(0x21, 0x11, &four(), 0), Some("192.0.2.1")),
            (block(0x21, 0x12, &four(), 9), Some("192.0.2.1")),
            (block(0x21, 0x21, &six(), 0), Some("2001:db8::1")),
            (block(0x21, 0x22, &six(), V2_BYTES_MAX - 16 - 36), Some("2001:db8::1")),
            (block(0x21, 0x31, &[0; 216], 0), None),
            (block(0x21, 0x00, &[], 300), None),
            (block(0x20, 0x00, &[], 0), None),
            (block(0x20, 0x11, &four(), 3), None),
            (block(0x20, 0xff, &[], 3), None),
        ]
    }

    #[test]
    fn every_header_is_read_alike_in_every_cut_and_nothing_behind_it_is_taken() {
        for (header, named) in good() {
            let named = named.map(|text| text.parse().unwrap());
            let bytes = [&header[..], b"RPP1"].concat();
            let whole = Header::Complete { named, consumed: header.len() };
            assert_eq!(ProxyHeaderReader::new().feed(&bytes), Ok(whole), "{header:?}");
            for cut in 0..header.len() {
                let mut reader = ProxyHeaderReader::new();
                assert_eq!(reader.feed(&bytes[..cut]), Ok(Header::Incomplete));
                let consumed = header.len() - cut;
                let rest = reader.feed(&bytes[cut..]);
                assert_eq!(rest, Ok(Header::Complete { named, consumed }), "{cut} of {header:?}");
            }
            let mut reader = ProxyHeaderReader::new();
            let (last, before) = header.split_last().unwrap();
            assert!(before.iter().all(|&it| reader.feed(&[it]) == Ok(Header::Incomplete)));
            assert_eq!(reader.feed(&[*last]), Ok(Header::Complete { named, consumed: 1 }));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_in_every_cut() {
        let mut bad: Vec<Vec<u8>> = [
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 7400\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1  2\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY tcp4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXYTCP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY \r\n",
            "P\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        bad.extend([
            format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_BYTES_MAX - 15)).into_bytes(),
            b"PROXY TCP4 \xff\r\n".to_vec(),
            block(0x21, 0x11, &four()[..11], 0),
            block(0x21, 0x21, &four(), 23),
            block(0x21, 0x31, &[0; 215], 0),
            block(0x22, 0x11, &four(), 0),
            block(0x11, 0x11, &four(), 0),
            block(0x21, 0x13, &four(), 0),
            block(0x21, 0x41, &six(), 0),
            block(0x21, 0x00, &[], V2_BYTES_MAX - 15),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
        ]);
        for header in bad {
            assert_eq!(ProxyHeaderReader::new().feed(&header), Err(Malformed), "{header:?}");
            for cut in 1..header.len() {
                let mut reader = ProxyHeaderReader::new();
                let pieces = [&header[..cut], &header[cut..]];
                let refused = pieces.iter().any(|piece| reader.feed(piece) == Err(Malformed));
                assert!(refused, "{cut} of {header:?}");
            }
        }
    }

    #[test]
    fn a_header_without_an_end_is_refused_at_its_limit() {
        let mut reader = ProxyHeaderReader::new();
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(V1_BYTES_MAX - 1, b'x');
        assert_eq!(reader.feed(&line), Ok(Header::Incomplete));
        assert_eq!(reader.feed(b"x"), Err(Malformed));
    }
}
