//! The first bytes of a connection: what protocol they are, the head of an HTTP request, and the
//! requests behind it.

use ringpost_conn::http::{HEAD_BYTES_MAX, HeadReader, Origins, Request, Requests, Stop};
use ringpost_conn::sniff::{Sniffer, Verdict};

/// The first byte is the length of the pieces in which the rest arrives.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else { return };
    let cuts = crate::cuts(bytes, size);
    assert_eq!(sniff(bytes, &[]), sniff(bytes, &cuts), "cuts change nothing");
    let origins = Origins::new(["https://chat.example"]).expect("an origin");
    assert_eq!(read(bytes, &[], &origins), read(bytes, &cuts, &origins), "cuts change nothing");
    assert_eq!(serve(bytes, &[], &origins), serve(bytes, &cuts, &origins), "cuts change nothing");
}

/// What REST may serve of a stream of requests, and what stops it with all that came behind.
fn serve(bytes: &[u8], cuts: &[usize], origins: &Origins) -> (Vec<u8>, Option<Stop>) {
    let mut requests = Requests::new(Some(origins.clone()));
    let mut served = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let stop = requests.feed(&bytes[start..end], &mut served);
        if let Some(mut stop) = stop {
            assert!(bytes.starts_with(&served), "what is served is what came");
            let (Stop::Upgrade { read } | Stop::Refused { goes_on: Some(read), .. }) = &mut stop
            else {
                // Only what stands in front of it is sure to be served alike.
                return (Vec::new(), Some(stop));
            };
            read.extend_from_slice(&bytes[end..]);
            assert!(bytes.ends_with(read), "what comes behind is what came");
            return (served, Some(stop));
        }
        start = end;
    }
    assert!(bytes.starts_with(&served), "what is served is what came");
    (served, None)
}

/// The protocol, and how many bytes of all that came were its preamble.
fn sniff(bytes: &[u8], cuts: &[usize]) -> Option<String> {
    let mut sniffer = Sniffer::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let verdict = sniffer.feed(&bytes[start..end]);
        assert!(bytes.starts_with(sniffer.held()), "what is held is what came");
        if let Verdict::Decided { protocol, .. } = verdict {
            return Some(format!("{protocol:?}"));
        }
        start = end;
    }
    None
}

/// What becomes of the request, and the bytes that it is answered or handed on with; nothing
/// while it is incomplete.
fn read(bytes: &[u8], cuts: &[usize], origins: &Origins) -> Option<(String, Vec<u8>)> {
    let mut reader = HeadReader::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let mut answer = Vec::new();
        let outcome = match reader.feed(&bytes[start..end], origins) {
            Ok(Request::Incomplete) => None,
            Ok(Request::Upgrade { upgrade, consumed, .. }) => {
                upgrade.write_response(&mut answer);
                assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
                Some(format!("{upgrade:?} {}", start + consumed))
            }
            Ok(Request::Rest { head, consumed, .. }) => {
                assert_eq!(head, &bytes[..start + consumed], "the head is handed on as it came");
                answer.extend_from_slice(head);
                Some(format!("rest {}", start + consumed))
            }
            Err(rejection) => {
                rejection.write_response(false, &mut answer);
                assert!(answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5"));
                Some(format!("{rejection:?}"))
            }
        };
        assert!(reader.pinned_bytes() <= HEAD_BYTES_MAX);
        if let Some(outcome) = outcome {
            return Some((outcome, answer));
        }
        start = end;
    }
    None
}
