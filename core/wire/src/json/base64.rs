//! Standard base64 with padding (RFC 4648 section 4), strict: one text for one value.
//!
//! Most of a JSON message is base64, so the engine with vector instructions is used where the
//! crate has one (x86-64 and AArch64; it looks for AVX2 or NEON once and falls back by itself).
//! Both engines refuse the same texts; a test holds them equal.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::PAD;
use bytes::BytesMut;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ENGINE: LazyLock<base64::engine::Simd> =
    LazyLock::new(|| base64::engine::Simd::standard(PAD));

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINE: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

/// Appends `bytes` to `out`, encoded in place.
pub(super) fn encode(bytes: &[u8], out: &mut BytesMut) {
    let start = out.len();
    let encoded = base64::encoded_len(bytes.len(), true).expect("a body is far below 4 GiB");
    out.resize(start + encoded, 0);
    ENGINE.encode_slice(bytes, &mut out[start..]).expect("sized for exactly this");
}

/// Length of what `text` decodes to, if it is base64 at all.
pub(super) fn decoded_bytes(text: &str) -> usize {
    let padding = text.bytes().rev().take(2).take_while(|&byte| byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// The bytes that `text` stands for; `None` if it is not exactly what [`encode`] writes.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Bytes without a pattern, the same in every run.
    fn bytes(length: usize) -> Vec<u8> {
        (0..length as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
    }

    #[test]
    fn both_engines_write_and_read_the_same_at_every_length() {
        for length in 0..400 {
            let bytes = bytes(length);
            let mut text = BytesMut::from(&b"x"[..]);
            encode(&bytes, &mut text);
            let text = std::str::from_utf8(&text[1..]).expect("ASCII");
            assert_eq!(text, STANDARD.encode(&bytes));
            assert_eq!(decoded_bytes(text), length);
            assert_eq!(decode(text), Some(bytes));
        }
    }

    #[test]
    fn both_engines_refuse_the_same_texts_wherever_the_bad_byte_stands() {
        for length in [1, 2, 3, 47, 48, 49, 100, 101, 102] {
            let good = STANDARD.encode(bytes(length));
            for at in 0..good.len() {
                for bad in b"=-_ \n\0\x7f.AQ" {
                    let mut text = good.clone().into_bytes();
                    text[at] = *bad;
                    let text = String::from_utf8(text).expect("ASCII");
                    assert_eq!(decode(&text), STANDARD.decode(&text).ok(), "{text:?}");
                }
                assert_eq!(decode(&good[..at]), STANDARD.decode(&good[..at]).ok());
            }
        }
    }
}
