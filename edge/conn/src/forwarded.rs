//! `X-Forwarded-For` and `Forwarded`: for whom a proxy speaks in a request.
//!
//! Each proxy writes the address of who called it behind what it was given, so only the right end is
//! the word of the proxy that called us. The list is read from there, over addresses that are trusted
//! proxies, to the first that is not: that is the caller. What stands to its left was said by the
//! caller itself, and is not even parsed.
//!
//! ```text
//!   X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2        socket: 10.0.0.1, trusted: 10.0.0.0/8
//!                    (a lie)   the caller  <-- trusted <---------- trusted
//! ```
//! Where both fields are there, both must come to the same address, else neither counts. A proxy
//! writes the one and passes the other on as its client sent it: whichever of the two won, behind some
//! proxy clients could choose their address by it.
//!
//! Sources: RFC 7239 section 4 (`Forwarded`), RFC 9110 section 5.6.1 (lists).

use std::net::{IpAddr, Ipv6Addr};
use std::str;

use crate::caller::{Caller, Naming, TrustedProxies};

/// Lines of each field that are looked at, the last that came: a longer chain of proxies that each begin
/// a line is not believed beyond.
const LINES_MAX: usize = 4;

/// The last values of a field, a line each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Lines<'a> {
    last: [&'a [u8]; LINES_MAX],
    count: usize,
}

impl<'a> Lines<'a> {
    fn new(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut kept = Self::default();
        for line in lines {
            if kept.count == LINES_MAX {
                kept.last.rotate_left(1);
            }
            kept.count = (kept.count + 1).min(LINES_MAX);
            kept.last[kept.count - 1] = line;
        }
        kept
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The fields of one request that say for whom a proxy speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ForwardedFields<'a> {
    x_forwarded_for: Lines<'a>,
    forwarded: Lines<'a>,
}

impl<'a> ForwardedFields<'a> {
    /// The lines of both fields, in the order in which they came.
    pub fn new(
        x_forwarded_for: impl Iterator<Item = &'a [u8]>,
        forwarded: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        Self { x_forwarded_for: Lines::new(x_forwarded_for), forwarded: Lines::new(forwarded) }
    }

    /// Who calls, if `caller` brought this request; and what was made of the fields, if anything.
    pub fn caller(&self, caller: Caller, trusted: &TrustedProxies) -> (Caller, Option<Naming>) {
        if !caller.is_proxy() {
            let is_there = !(self.x_forwarded_for.is_empty() && self.forwarded.is_empty());
            return (caller, is_there.then_some(Naming::Ignored));
        }
        let x_forwarded_for = walk(entries(&self.x_forwarded_for, false), trusted);
        let forwarded = walk(entries(&self.forwarded, true), trusted);
        let ended = match (x_forwarded_for, forwarded) {
            (None, None) => return (caller.itself(), Some(Naming::Nobody)),
            (Some(ended), None) | (None, Some(ended)) => ended,
            (Some(one), Some(other)) if one.at == other.at => {
                Walk { at: one.at, malformed: one.malformed || other.malformed }
            }
            (Some(_), Some(_)) => return (caller.itself(), Some(Naming::Disagreed)),
        };
        let naming = if ended.malformed { Naming::Malformed } else { Naming::Forwarded };
        (ended.at.map_or(caller.itself(), |at| caller.named_by_fields(at)), Some(naming))
    }
}

/// How far a list was believed.
#[derive(Clone, Copy)]
struct Walk {
    /// The last good address; `None` where not even the first was one.
    at: Option<IpAddr>,
    /// It ended because what came next was no address.
    malformed: bool,
}

/// Reads addresses, the rightmost first; `None` where there are none.
fn walk(entries: impl Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies) -> Option<Walk> {
    let mut walk = None;
    for entry in entries {
        let before = walk.and_then(|walk: Walk| walk.at);
        let Some(address) = entry else { return Some(Walk { at: before, malformed: true }) };
        walk = Some(Walk { at: Some(address), malformed: false });
        if !trusted.contain(address) {
            break;
        }
    }
    walk
}

/// The addresses in the elements of all lines, the rightmost first; `None` for what is no address.
fn entries<'l>(
    lines: &'l Lines<'_>,
    is_standard: bool,
) -> impl Iterator<Item = Option<IpAddr>> + 'l {
    let elements = lines.last[..lines.count].iter().rev().flat_map(|line| from_right(line, b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).map(move |element| {
        if is_standard { node(parameter(element)?) } else { node(str::from_utf8(element).ok()?) }
    })
}

/// The parts of a list, the rightmost first, parted where no quotes are around. Read from the right so
/// that a quote which a client left open swallows nothing that a proxy wrote behind it.
fn from_right(list: &[u8], comma: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let whole = rest?;
        let mut is_quoted = false;
        let comma = (0..whole.len()).rev().find(|&at| {
            is_quoted ^= whole[at] == b'"' && !is_escaped(whole, at);
            whole[at] == comma && !is_quoted
        });
        rest = comma.map(|at| &whole[..at]);
        Some(comma.map_or(whole, |at| &whole[at + 1..]))
    })
}

/// Whether an odd number of backslashes stands before a byte.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The value of the only `for` of an element of `Forwarded`.
fn parameter(element: &[u8]) -> Option<&str> {
    let mut values = from_right(element, b';').filter_map(|pair| {
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        name.trim_ascii().eq_ignore_ascii_case("for").then(|| value.trim_ascii())
    });
    let value = values.next().filter(|_| values.next().is_none())?;
    // An address has nothing to escape, so what is escaped is none.
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, perhaps with a port, as proxies write them; not `unknown`, nor a made-up name.
fn node(text: &str) -> Option<IpAddr> {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let address = match (in_brackets, text.split_once(':')) {
        (Some((address, port)), _) => {
            let is_end = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(address.parse::<Ipv6Addr>().ok().filter(|_| is_end)?)
        }
        (None, Some((address, port))) if is_port(port) && address.contains('.') => {
            IpAddr::V4(address.parse().ok()?)
        }
        (None, _) => text.parse().ok()?,
    };
    Some(address.to_canonical())
}

/// A port, or a name that stands for one (RFC 7239 section 6).
fn is_port(text: &str) -> bool {
    let is_name =
        |name: &str| name.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it));
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && is_name(name),
        None => text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(x_forwarded_for: &[&str], forwarded: &[&str]) -> (String, Naming) {
        let trusted = TrustedProxies::new(["10.0.0.0/8", "fd00::/8"]).unwrap();
        let socket = Caller::of_socket("10.0.0.1".parse().unwrap(), &trusted);
        let lines = [x_forwarded_for, forwarded].map(|lines| lines.iter().map(|it| it.as_bytes()));
        let [x_forwarded_for, forwarded] = lines;
        let (caller, naming) =
            ForwardedFields::new(x_forwarded_for, forwarded).caller(socket, &trusted);
        assert!(!caller.is_proxy(), "a request has one caller");
        (caller.to_string(), naming.expect("a proxy was heard"))
    }

    #[test]
    fn the_first_from_the_right_that_is_no_proxy_calls() {
        for (lines, caller) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6,192.0.2.1 ,\t10.0.0.2"], "192.0.2.1"),
            (&["6.6.6.6", "192.0.2.1", "10.0.0.2, fd00::1"], "192.0.2.1"),
            (&["192.0.2.1", "10.0.0.2,,", ""], "192.0.2.1"),
            (&["192.0.2.1:4711, 10.0.0.2:1"], "192.0.2.1"),
            // No further than the last four lines.
            (&[["192.0.2.1"].as_slice(), &["10.0.0.2"; 4]].concat(), "10.0.0.2"),
            (&[["192.0.2.1"].as_slice(), &["10.0.0.2"; 3]].concat(), "192.0.2.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            // All are proxies: the one that was called first.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // A lie is not parsed.
            (&["rubbish \", 192.0.2.1"], "192.0.2.1"),
        ] {
            assert_eq!(named(lines, &[]), (caller.to_owned(), Naming::Forwarded), "{lines:?}");
        }
    }

    #[test]
    fn the_standard_field_reads_alike() {
        for (lines, caller) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=\"192.0.2.1:80\";proto=https;by=10.0.0.1"], "192.0.2.1"),
            (&["for=6.6.6.6, proto=http ; for=\"[2001:db8::1]:4711\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]\"", "for=10.0.0.2"], "2001:db8::1"),
            (&["for=192.0.2.1:_gw;host=\"a,b;for=6.6.6.6\""], "192.0.2.1"),
            (&["for=192.0.2.1;host=\"\\\",for=6.6.6.6;x=\\\"\""], "192.0.2.1"),
            // A quote that a client left open swallows nothing.
            (&["for=\", for=192.0.2.1"], "192.0.2.1"),
            (&["for=6.6.6.6;by=\"", "for=192.0.2.1"], "192.0.2.1"),
        ] {
            assert_eq!(named(&[], lines), (caller.to_owned(), Naming::Forwarded), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_last_good_one() {
        for (x_forwarded_for, forwarded, caller) in [
            (&["6.6.6.6, unknown, 10.0.0.2"][..], &[][..], "10.0.0.2"),
            (&["192.0.2.1, 10.0.0.256"], &[], "10.0.0.1"),
            (&["192.0.2.1:x"], &[], "10.0.0.1"),
            (&["192.0.2.1:+1"], &[], "10.0.0.1"),
            (&["[192.0.2.1]"], &[], "10.0.0.1"),
            (&["[2001:db8::1]x"], &[], "10.0.0.1"),
            (&["fe80::1%eth0"], &[], "10.0.0.1"),
            (&["\"192.0.2.1\""], &[], "10.0.0.1"),
            (&[], &["for=unknown"], "10.0.0.1"),
            (&[], &["for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&[], &["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
            (&[], &["192.0.2.1"], "10.0.0.1"),
            (&[], &["proto=https"], "10.0.0.1"),
            (&[], &["for=\"192.0.2.1\\\"\""], "10.0.0.1"),
            (&[], &["for=6.6.6.6, for=192.0.2.1\""], "10.0.0.1"),
        ] {
            let (x, f) = (x_forwarded_for, forwarded);
            assert_eq!(named(x, f), (caller.to_owned(), Naming::Malformed), "{x:?} {f:?}");
        }
    }

    #[test]
    fn two_fields_that_disagree_name_nobody() {
        let both = named(&["6.6.6.6, 192.0.2.1"], &["for=192.0.2.1"]);
        assert_eq!(both, ("192.0.2.1".to_owned(), Naming::Forwarded));
        for (x_forwarded_for, forwarded) in
            [("192.0.2.1", "for=6.6.6.6"), ("6.6.6.6", "for=192.0.2.1"), ("x", "for=192.0.2.1")]
        {
            let neither = named(&[x_forwarded_for], &[forwarded]);
            assert_eq!(neither, ("10.0.0.1".to_owned(), Naming::Disagreed));
        }
        assert_eq!(named(&[], &[]), ("10.0.0.1".to_owned(), Naming::Nobody));
        assert_eq!(named(&[" , "], &[""]), ("10.0.0.1".to_owned(), Naming::Nobody));
    }

    #[test]
    fn who_is_no_trusted_proxy_is_not_heard() {
        let trusted = TrustedProxies::default();
        let direct = Caller::of_socket("10.0.0.1".parse().unwrap(), &trusted);
        let line = || [b"192.0.2.1".as_slice()].into_iter();
        for fields in [
            ForwardedFields::new(line(), [].into_iter()),
            ForwardedFields::new([].into_iter(), line()),
        ] {
            assert_eq!(fields.caller(direct, &trusted), (direct, Some(Naming::Ignored)));
        }
        assert_eq!(ForwardedFields::default().caller(direct, &trusted), (direct, None));
    }
}
