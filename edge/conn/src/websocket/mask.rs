//! The mask of client frames (RFC 6455 section 5.3): XOR with a repeating key of four bytes.

use std::array;

/// Key of one frame, turned to the place in the payload that is unmasked next.
pub(super) type Key = [u8; 4];

/// Bytes per step: as wide as the vectors that every target has. The compiler unrolls the loop
/// into vector instructions.
const STEP_BYTES: usize = 16;

/// Unmasks `payload` in place; `key[0]` belongs to its first byte.
pub(super) fn unmask(payload: &mut [u8], key: Key) {
    let wide = u128::from_ne_bytes(array::from_fn(|place| key[place % key.len()]));
    let (steps, rest) = payload.as_chunks_mut::<STEP_BYTES>();
    for step in steps {
        *step = (u128::from_ne_bytes(*step) ^ wide).to_ne_bytes();
    }
    // A step is a multiple of the key, so the rest starts at key[0] again.
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for the byte that follows `bytes` unmasked ones.
pub(super) fn turned(mut key: Key, bytes: usize) -> Key {
    let turn = bytes % key.len();
    key.rotate_left(turn);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of the RFC, byte by byte.
    fn octet_by_octet(payload: &[u8], key: Key) -> Vec<u8> {
        payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..bytes.len() {
            let mut payload = bytes[..length].to_vec();
            unmask(&mut payload, key);
            assert_eq!(payload, octet_by_octet(&bytes[..length], key), "length {length}");
        }
    }

    #[test]
    fn two_parts_with_a_turned_key_are_the_whole() {
        let key = [1, 2, 4, 8];
        let bytes: Vec<u8> = (0..100).collect();
        let whole = octet_by_octet(&bytes, key);
        for cut in 0..=bytes.len() {
            let mut payload = bytes.clone();
            let (head, tail) = payload.split_at_mut(cut);
            unmask(head, key);
            unmask(tail, turned(key, cut));
            assert_eq!(payload, whole, "cut {cut}");
        }
    }
}
