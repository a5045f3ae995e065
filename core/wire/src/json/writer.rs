//! Writes one JSON object at the end of a buffer.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::base64;

/// An object being written; `finish` closes it.
pub(super) struct ObjectWriter<'a>(&'a mut BytesMut);

impl<'a> ObjectWriter<'a> {
    /// Opens an object with its `type`.
    pub(super) fn begin(out: &'a mut BytesMut, type_name: &'static str) -> Self {
        out.put_slice(b"{\"type\":\"");
        out.put_slice(type_name.as_bytes());
        out.put_slice(b"\"");
        Self(out)
    }

    /// Names are ours and need no escapes.
    fn name(&mut self, name: &'static str) {
        self.0.put_slice(b",\"");
        self.0.put_slice(name.as_bytes());
        self.0.put_slice(b"\":");
    }

    pub(super) fn string(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    /// Nothing where the value is empty.
    pub(super) fn string_unless_empty(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.string(name, value);
        }
    }

    pub(super) fn id(&mut self, name: &'static str, id: [u8; 16]) {
        self.name(name);
        self.quoted_id(id);
    }

    /// Nothing where the id is nil.
    pub(super) fn id_unless_nil(&mut self, name: &'static str, id: [u8; 16]) {
        if id != [0; 16] {
            self.id(name, id);
        }
    }

    pub(super) fn integer(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.decimal(value);
    }

    /// Nothing where the value is 0.
    pub(super) fn integer_unless_0(&mut self, name: &'static str, value: u64) {
        if value != 0 {
            self.integer(name, value);
        }
    }

    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.0.put_slice(if value { b"true" } else { b"false" });
    }

    /// Nothing where the value is false.
    pub(super) fn flag_if(&mut self, name: &'static str, value: bool) {
        if value {
            self.flag(name, true);
        }
    }

    /// Bytes in standard base64, encoded in place.
    pub(super) fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.0.put_u8(b'"');
        base64::encode(value, self.0);
        self.0.put_u8(b'"');
    }

    pub(super) fn ids(&mut self, name: &'static str, ids: impl Iterator<Item = [u8; 16]>) {
        self.name(name);
        self.array(ids, Self::quoted_id);
    }

    pub(super) fn words(&mut self, name: &'static str, words: impl Iterator<Item = &'static str>) {
        self.name(name);
        self.array(words, |writer, word| writer.quoted(word));
    }

    /// Both forms of a point in time.
    pub(super) fn timestamp_ms(&mut self, ms: u64) {
        self.integer("timestamp", ms / 1000);
        self.integer("timestamp_ms", ms);
    }

    /// Closes the object, with the tag if there is one.
    pub(super) fn finish(mut self, tag: u16) {
        self.integer_unless_0("tag", tag.into());
        self.0.put_u8(b'}');
    }

    fn array<T>(&mut self, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.0.put_u8(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.0.put_u8(b',');
            }
            write(self, item);
        }
        self.0.put_u8(b']');
    }

    fn quoted_id(&mut self, id: [u8; 16]) {
        let mut text = [0; Hyphenated::LENGTH];
        Uuid::from_bytes(id).hyphenated().encode_lower(&mut text);
        self.0.put_u8(b'"');
        self.0.put_slice(&text);
        self.0.put_u8(b'"');
    }

    fn decimal(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.put_slice(&digits[start..]);
    }

    /// A string with the escapes that RFC 8259 section 7 demands, and DEL.
    fn quoted(&mut self, value: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.0.put_u8(b'"');
        let mut rest = value.as_bytes();
        let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20 || byte == 0x7f;
        while let Some(at) = rest.iter().position(special) {
            self.0.put_slice(&rest[..at]);
            match rest[at] {
                b'\n' => self.0.put_slice(b"\\n"),
                b'\r' => self.0.put_slice(b"\\r"),
                b'\t' => self.0.put_slice(b"\\t"),
                byte @ (b'"' | b'\\') => self.0.put_slice(&[b'\\', byte]),
                byte => {
                    let [high, low] = [byte >> 4, byte & 15].map(|half| HEX[usize::from(half)]);
                    self.0.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
            rest = &rest[at + 1..];
        }
        self.0.put_slice(rest);
        self.0.put_u8(b'"');
    }
}
