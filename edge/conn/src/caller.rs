//! Who is behind a connection, and from where that is known: one value from accept to every limit by
//! address, to what operators are shown, and to each request of REST.
//!
//! ```text
//!   the socket's other end --+-- no trusted proxy ------------------------> that is the caller
//!                            |
//!                            +-- a trusted proxy: nobody is named yet
//!                                  |-- a PROXY header names an address ---> judged anew, as above
//!                                  |-- an HTTP head with forwarded fields -> whom they name
//!                                  +-- neither ---------------------------> the proxy itself
//! ```
//! Owns the list of trusted proxies and the steps from the socket to the caller. Does not own the two
//! ways of naming: [`crate::proxy_header`] and [`crate::forwarded`]. Invariant: only who is in the list
//! is believed, so an address that counts was seen by us, or by a chain of listed proxies alone.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

/// Most networks in the list of trusted proxies.
pub const TRUSTED_PROXIES_MAX: usize = 64;

/// The networks whose word about an address is taken. Empty by default: nobody's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies(Box<[IpNet]>);

/// An entry of the list that is no network of proxies.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "{0:?} is not an address or a network, such as \"127.0.0.1\", \"10.1.0.0/16\" or \"fd00::/8\"; \
     one of everybody (a prefix of 0) would let every client choose its address"
)]
pub struct InvalidNetwork(pub String);

impl TrustedProxies {
    /// The list with these entries, each an address or `ADDRESS/PREFIX`.
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn new<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, InvalidNetwork> {
        let networks = entries.into_iter().map(|entry| {
            network(entry)
                .filter(|it| it.prefix_len() > 0)
                .ok_or_else(|| InvalidNetwork(entry.to_owned()))
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }

    /// Whether the address is a trusted proxy's.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(entry: &str) -> Option<IpNet> {
    let address = |text: &str| Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical()));
    entry.parse().ok().or_else(|| address(entry))
}

/// From where a caller's address is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KnownFrom {
    /// It is the other end of the socket.
    Socket,
    /// A PROXY header named it, or said that the proxy itself calls.
    ProxyHeader,
    /// `X-Forwarded-For` or `Forwarded` of a request named it.
    Forwarded,
}

impl KnownFrom {
    /// Its name in answers to operators. Names are stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::ProxyHeader => "proxy_header",
            Self::Forwarded => "forwarded",
        }
    }
}

/// Who is behind a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    address: IpAddr,
    known_from: KnownFrom,
    /// The address is a trusted proxy's, and may still name another.
    is_proxy: bool,
}

impl Caller {
    /// The other end of a socket.
    pub fn of_socket(address: IpAddr, trusted: &TrustedProxies) -> Self {
        Self::known(address, KnownFrom::Socket, trusted)
    }

    /// Whom a PROXY header of this caller names: an address, or nobody but itself.
    pub fn named_by_header(self, named: Option<IpAddr>, trusted: &TrustedProxies) -> Self {
        Self::known(named.unwrap_or(self.address), KnownFrom::ProxyHeader, trusted)
    }

    /// Whom the fields of a request name.
    pub(crate) fn named_by_fields(self, address: IpAddr) -> Self {
        Self { address, known_from: KnownFrom::Forwarded, is_proxy: false }
    }

    /// The caller where nobody else was named.
    pub fn itself(self) -> Self {
        Self { is_proxy: false, ..self }
    }

    fn known(address: IpAddr, known_from: KnownFrom, trusted: &TrustedProxies) -> Self {
        let address = address.to_canonical();
        Self { address, known_from, is_proxy: trusted.contain(address) }
    }

    /// The address. Of a caller that [is a proxy](Self::is_proxy) it is not yet that of who calls.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// From where the address is known.
    pub fn known_from(self) -> KnownFrom {
        self.known_from
    }

    /// Whether this is a trusted proxy that has not said for whom it speaks: nothing may be counted
    /// by its address, which all its clients have alike.
    pub fn is_proxy(self) -> bool {
        self.is_proxy
    }
}

/// What was made of the word of a proxy, or of who would like to be one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Naming {
    /// A PROXY header named an address.
    ProxyHeader,
    /// A PROXY header said that the proxy itself calls.
    ProxyItself,
    /// Forwarded fields named an address.
    Forwarded,
    /// A trusted proxy named nobody: it counts for itself.
    Nobody,
    /// Something in a forwarded field was no address: what stands to its left was not read.
    Malformed,
    /// `X-Forwarded-For` and `Forwarded` named different addresses: neither counts.
    Disagreed,
    /// Forwarded fields of who is no trusted proxy: not read.
    Ignored,
}

impl Naming {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::ProxyHeader,
        Self::ProxyItself,
        Self::Forwarded,
        Self::Nobody,
        Self::Malformed,
        Self::Disagreed,
        Self::Ignored,
    ];

    /// The value of the `by` label of its counter. A closed set; names are stable.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ProxyHeader => "proxy_header",
            Self::ProxyItself => "proxy_itself",
            Self::Forwarded => "forwarded",
            Self::Nobody => "nobody",
            Self::Malformed => "malformed",
            Self::Disagreed => "disagreed",
            Self::Ignored => "ignored",
        }
    }
}

/// Where a caller calls from, for people.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_an_address_and_a_mapped_address_are_trusted_and_nothing_beside() {
        let trusted = TrustedProxies::new(["10.1.2.3/16", "192.0.2.7", "fd00::/8", "::1"]).unwrap();
        for inside in ["10.1.255.255", "192.0.2.7", "::ffff:192.0.2.7", "fd12::1", "::1"] {
            assert!(trusted.contain(address(inside)), "{inside}");
        }
        for outside in ["10.2.0.0", "192.0.2.8", "fe80::1", "::2", "::ffff:192.0.2.8"] {
            assert!(!trusted.contain(address(outside)), "{outside}");
        }
        assert!(!TrustedProxies::default().contain(address("127.0.0.1")));
    }

    #[test]
    fn everybody_and_what_is_no_network_is_refused() {
        for entry in
            ["", "proxy", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0", "10.0.0.0/", "::1%lo"]
        {
            assert_eq!(TrustedProxies::new([entry]), Err(InvalidNetwork(entry.to_owned())));
        }
    }

    #[test]
    fn every_naming_stands_at_its_number() {
        for (number, naming) in Naming::ALL.into_iter().enumerate() {
            assert_eq!(naming as usize, number);
        }
    }

    #[test]
    fn a_header_that_names_a_proxy_leaves_room_for_one_more_name() {
        let trusted = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        let direct = Caller::of_socket(address("::ffff:192.0.2.1"), &trusted);
        assert!(!direct.is_proxy() && direct.address() == address("192.0.2.1"));
        let balancer = Caller::of_socket(address("10.0.0.1"), &trusted);
        assert!(balancer.is_proxy() && !balancer.itself().is_proxy());
        let inner = balancer.named_by_header(Some(address("10.0.0.2")), &trusted);
        assert!(inner.is_proxy() && inner.known_from() == KnownFrom::ProxyHeader);
        let person = balancer.named_by_header(Some(address("2001:db8::1")), &trusted);
        assert!(!person.is_proxy() && person.address() == address("2001:db8::1"));
        let itself = balancer.named_by_header(None, &trusted);
        assert!(itself.is_proxy() && itself.address() == balancer.address());
    }
}
