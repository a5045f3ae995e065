//! The digest by which a repeated send is told from another message under the same id.
//!
//! Equal must be: recipient, `reply_to`, whether the content is plain, and the content, byte for
//! byte. The client's timestamp is not asked: a retry may be stamped anew, and it is never
//! trusted. XXH3 is no cryptographic hash; a client that makes two of its own messages collide
//! gets the first one's `sent` for the second, and harms nobody else. Stored, so never seeded.

use ringpost_wire::UserId;
use ringpost_wire::command::{Content, SendMessage};
use xxhash_rust::xxh3::xxh3_128;

/// The digest of a message's decoded fields (XXH3-128, big-endian).
pub fn digest(message: &SendMessage<'_>) -> [u8; 16] {
    let (plain, content) = match &message.content {
        Content::Encrypted(bytes) => (false, &bytes[..]),
        Content::Plain(text) => (true, text.as_bytes()),
    };
    of_fields(message.to, message.reply_to, plain, content)
}

fn of_fields(to: UserId, reply_to: Option<[u8; 16]>, plain: bool, content: &[u8]) -> [u8; 16] {
    let mut fields = [0; 49];
    fields[..16].copy_from_slice(&to.0);
    fields[16..32].copy_from_slice(&reply_to.unwrap_or_default());
    fields[32..48].copy_from_slice(&xxh3_128(content).to_be_bytes());
    fields[48] = u8::from(plain) | u8::from(reply_to.is_some()) << 1;
    xxh3_128(&fields).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST_OF_VERSION_1: u128 = 0xabad_ac72_cd6f_d135_07d2_4124_2db8_316e;

    #[test]
    fn the_digest_is_stored_and_so_never_changes() {
        let digest = of_fields(UserId([1; 16]), Some([2; 16]), false, b"ciphertext");
        assert_eq!(u128::from_be_bytes(digest), DIGEST_OF_VERSION_1);
    }

    #[test]
    fn every_field_but_the_timestamp_counts() {
        let base = of_fields(UserId([1; 16]), None, false, b"x");
        let others = [
            of_fields(UserId([2; 16]), None, false, b"x"),
            of_fields(UserId([1; 16]), Some([0; 16]), false, b"x"),
            of_fields(UserId([1; 16]), None, true, b"x"),
            of_fields(UserId([1; 16]), None, false, b"y"),
        ];
        assert!(others.iter().all(|other| *other != base));
    }
}
