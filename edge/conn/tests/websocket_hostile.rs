//! Whatever bytes a client sends, the decoder neither panics nor holds more than its limits, and
//! its verdict does not depend on how they were cut.
//!
//! Setup: arbitrary octets, and frames with arbitrary headers (so that the deeper states are
//! reached). Action: decode whole, octet by octet and in random pieces; the memory bound is
//! asserted after each piece. Expectation: the same outcome each time, final once failed.

mod websocket_client;

use proptest::prelude::*;
use ringpost_conn::websocket::{Accepts, Limits};
use websocket_client::*;

fn limits() -> impl Strategy<Value = Limits> {
    (prop_oneof![Just(Accepts::Text), Just(Accepts::Binary)], 1u32..400, 1u16..6).prop_map(
        |(accepts, message_bytes_max, fragments_max)| Limits {
            fragments_max,
            ..Limits::new(accepts, message_bytes_max)
        },
    )
}

/// First bytes that are mostly right.
fn first_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        20 => prop::sample::select(vec![0x01, 0x00, 0x80, 0x81, 0x02, 0x82, 0x88, 0x89, 0x8a]),
        1 => any::<u8>(),
    ]
}

fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => "\\PC{0,30}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..150),
        1 => Just(vec![0x03, 0xe8]),
    ];
    let whole = (first_byte(), payload.clone()).prop_map(|(first, payload)| frame(first, &payload));
    let unmasked = (first_byte(), prop::collection::vec(any::<u8>(), 0..125))
        .prop_map(|(first, payload)| unmasked(first, &payload));
    let announced = (first_byte(), any::<u64>().prop_flat_map(|bits| (0..64u32, Just(bits))))
        .prop_map(|(first, (shift, bits))| header(first, bits >> shift));
    prop_oneof![30 => whole, 1 => unmasked, 1 => announced]
}

fn check(bytes: &[u8], cuts: &[prop::sample::Index], limits: Limits) -> Result<(), TestCaseError> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let outcome = decode_whole(bytes, limits);
    prop_assert_eq!(&outcome, &decode_octets(bytes, limits));
    prop_assert_eq!(&outcome, &decode_cut(bytes, &cuts, limits));
    if let Some(violation) = outcome.violation {
        let mut client = Client::new(limits);
        client.feed(bytes);
        client.feed(&frame(0x89, b"after"));
        prop_assert_eq!(client.outcome.items, outcome.items, "nothing is read after a violation");
        prop_assert_eq!(client.outcome.violation, Some(violation));
        prop_assert_eq!(client.decoder.pinned_bytes(), 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_octets(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        limits in limits(),
    ) {
        check(&bytes, &cuts, limits)?;
    }

    #[test]
    fn any_frames(
        frames in prop::collection::vec(hostile_frame(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        limits in limits(),
    ) {
        check(&frames.concat(), &cuts, limits)?;
    }
}
