//! Who calls: a PROXY header in front of a connection, and what a client puts into the fields in
//! which proxies name it.

use ringpost_conn::forwarded::ForwardedFields;
use ringpost_conn::proxy_header::{Header, ProxyHeaderReader, V2_BYTES_MAX};
use ringpost_conn::{Caller, TrustedProxies};

/// The first byte is the length of the pieces in which the rest arrives.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else { return };
    let cuts = crate::cuts(bytes, size);
    let header = read(bytes, &[]);
    assert_eq!(header, read(bytes, &cuts), "cuts change nothing");
    if let Some(Some((_, taken))) = header {
        assert!(taken <= V2_BYTES_MAX, "a header has an end");
        let other = [&bytes[..taken], b"RPP1"].concat();
        assert_eq!(read(&other, &[]), header, "what stands behind it is nothing to it");
    }
    let trusted = TrustedProxies::new(["10.0.0.0/8"]).expect("a network");
    let proxy = Caller::of_socket([10, 0, 0, 1].into(), &trusted);
    let named = |x_forwarded_for: &[&[u8]], forwarded: &[&[u8]]| {
        let lines = [x_forwarded_for, forwarded].map(|lines| lines.iter().copied());
        let [x_forwarded_for, forwarded] = lines;
        let caller = ForwardedFields::new(x_forwarded_for, forwarded).caller(proxy, &trusted).0;
        assert!(!caller.is_proxy(), "a request has one caller");
        caller.address().to_string()
    };
    named(&[bytes], &[]);
    named(&[], &[bytes]);
    // Whatever a client wrote, the proxy's own word stands behind it and is the one that counts.
    let behind = |own: &str| [bytes, b", ", own.as_bytes()].concat();
    assert_eq!(named(&[&behind("192.0.2.1, 10.0.0.2")], &[]), "192.0.2.1");
    assert_eq!(named(&[], &[&behind("for=\"[2001:db8::1]:1\";by=10.0.0.1")]), "2001:db8::1");
    assert_eq!(named(&[bytes, b"192.0.2.1"], &[]), "192.0.2.1");
    assert_eq!(named(&[], &[bytes, b"for=192.0.2.1"]), "192.0.2.1");
}

/// The address that a header names and its length; `Some(None)`: it is none; `None`: incomplete.
fn read(bytes: &[u8], cuts: &[usize]) -> Option<Option<(String, usize)>> {
    let mut reader = ProxyHeaderReader::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        match reader.feed(&bytes[start..end]) {
            Ok(Header::Incomplete) => {}
            Ok(Header::Complete { named, consumed }) => {
                return Some(Some((format!("{named:?}"), start + consumed)));
            }
            Err(_) => return Some(None),
        }
        start = end;
    }
    None
}
