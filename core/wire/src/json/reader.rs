//! A reader of JSON texts (RFC 8259) that refuses what an edge must refuse.
//!
//! It is our own because the refusals are the point: a duplicate key, nesting beyond a limit, a
//! lone surrogate, a NUL and a number beyond every double must each be told apart, with their
//! place, also inside fields that are ignored otherwise. A tree of values is never built: objects
//! and arrays inside the outermost object are checked and kept as their text. Strings are borrowed
//! unless they hold escapes. A property test compares it with `serde_json`.
//!
//! A refusal names what it refuses, wherever in the text that stands. So a violation that leaves the
//! text readable is noted, and the reading goes on; only what is not JSON, or not text, ends it.
//!
//! Its work is linear in the text, whatever the text is: a key is looked for among those before it
//! in order ([`Keys`]), and a number is judged by its digits ([`number`](super::number)) and never
//! computed, because rounding one of twenty bytes can cost as much as reading a hundred thousand.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::number;
use crate::error::DecodeError;
use crate::limits::{JSON_DEPTH_MAX, JSON_KEYS_MAX};

/// A value in the outermost object.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// A number without sign, fraction and exponent that fits.
    Integer(u64),
    /// Any other number.
    Number,
    String(Cow<'a, str>),
    /// Checked, and kept as its text.
    Array(&'a str),
    Object,
}

/// The keys and values of one object, in the order of the text.
pub(crate) type Entries<'a> = SmallVec<[(Cow<'a, str>, Value<'a>); 16]>;

/// The keys whose values name a command in its answer: kept also behind a violation.
const NAMES: [&str; 2] = ["tag", "message_id"];

/// Reads a text that is one object. What could be read of it stands in `entries`, also where it is
/// refused: then only what [`NAMES`] is sure to be there, and a key that came twice has no value.
///
/// # Errors
/// The first violation; half a surrogate pair ahead of all others, because it ends the connection.
pub(crate) fn read_object<'a>(text: &'a str, entries: &mut Entries<'a>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(text, 0);
    let read = reader.only_object(entries);
    match (read, reader.violation) {
        (Err(DecodeError::LoneSurrogate { .. }), _) | (_, None) => read,
        (_, Some(first)) => Err(first),
    }
}

/// The strings of an array that was kept as its text; `None` if anything else is in it.
pub(crate) fn strings(array: &str) -> impl Iterator<Item = Option<Cow<'_, str>>> {
    let mut reader = Reader::new(array, 1);
    std::iter::from_fn(move || {
        reader.skip_space();
        match reader.bump()? {
            b']' => return None,
            b',' => reader.skip_space(),
            _ => reader.at -= 1,
        }
        match reader.value(1) {
            Ok(Value::String(string)) => Some(Some(string)),
            _ => Some(None),
        }
    })
    .fuse()
}

/// The keys that an object has had, and their order by bytes, so that the next one is looked for in
/// a few steps and not among all of them.
#[derive(Default)]
struct Keys<'a> {
    /// In the order of the text.
    keys: SmallVec<[Key<'a>; 16]>,
    /// Their places above, by rising key.
    order: SmallVec<[u8; JSON_KEYS_MAX + NAMES.len()]>,
}

/// One of them, with its first bytes as a number, which decides nearly always.
struct Key<'a> {
    prefix: u64,
    text: Cow<'a, str>,
}

impl<'a> Keys<'a> {
    /// Adds a key.
    ///
    /// # Errors
    /// If it is there already: its place in the order of the text.
    fn add(&mut self, text: Cow<'a, str>) -> Result<(), usize> {
        let prefix = prefix(&text);
        let compare = |&place: &u8| {
            let known = &self.keys[usize::from(place)];
            known.prefix.cmp(&prefix).then_with(|| known.text.as_ref().cmp(text.as_ref()))
        };
        match self.order.binary_search_by(compare) {
            Ok(at) => Err(self.order[at].into()),
            Err(at) => {
                self.order.insert(at, self.keys.len() as u8);
                self.keys.push(Key { prefix, text });
                Ok(())
            }
        }
    }
}

const _: () = assert!(JSON_KEYS_MAX + NAMES.len() < u8::MAX as usize, "a place is a byte");

/// What became of a key.
enum Added {
    /// It is the last of the keys now.
    Last,
    /// It came before, at this place in the order of the text.
    Before(usize),
    /// There are too many already.
    Over,
}

/// The first eight bytes, zeros behind a shorter key: numbers in the order of the texts.
fn prefix(key: &str) -> u64 {
    let bytes = key.as_bytes();
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            bytes.iter().fold(0, |prefix, &byte| prefix << 8 | u64::from(byte))
                << ((8 - bytes.len()) * 8).min(63)
        }
    }
}

/// What a string that holds an escape has room for behind it, so that a short one is allocated once.
const OWNED_BYTES_MORE: usize = 24;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The first violation behind which reading went on.
    violation: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    const fn new(text: &'a str, at: usize) -> Self {
        Self { text, at, violation: None }
    }

    /// Notes a violation that leaves the text readable.
    #[cold]
    fn note(&mut self, violation: DecodeError) {
        self.violation.get_or_insert(violation);
    }

    /// An object, and nothing else.
    fn only_object(&mut self, entries: &mut Entries<'a>) -> Result<(), DecodeError> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return Err(self.expected("an object"));
        }
        self.object(entries)?;
        self.skip_space();
        if self.at != self.text.len() {
            return Err(self.expected("the end of the text"));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    const fn expected(&self, expected: &'static str) -> DecodeError {
        DecodeError::Syntax { at: self.at, expected }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A value at `depth` objects and arrays.
    fn value(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => {
                self.pass(depth)?;
                Ok(Value::Object)
            }
            Some(b'[') => {
                let start = self.at;
                self.pass(depth)?;
                Ok(Value::Array(&self.text[start..self.at]))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// The same, checked and not kept: what nobody asks for, and what is in an array or an object.
    fn pass(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'"') => self.pass_string(),
            Some(b'{' | b'[') if depth == JSON_DEPTH_MAX => self.pass_too_deep(),
            Some(b'{') => self.pass_object(depth + 1),
            Some(b'[') => self.pass_array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.pass_number().map(|_| ()),
            _ => self.value(depth).map(|_| ()),
        }
    }

    fn word(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, DecodeError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(value)
    }

    /// The outermost object.
    fn object(&mut self, entries: &mut Entries<'a>) -> Result<(), DecodeError> {
        const DEPTH: usize = 1;
        if self.is_empty(b'}') {
            return Ok(());
        }
        let mut keys = Keys::default();
        loop {
            match self.key(&mut keys)? {
                Added::Last => {
                    let value = self.value(DEPTH)?;
                    let key = keys.keys.last().expect("it was just added").text.clone();
                    entries.push((key, value));
                }
                Added::Before(place) => {
                    entries[place].1 = Value::Null;
                    self.pass(DEPTH)?;
                }
                Added::Over => self.pass(DEPTH)?,
            }
            if self.is_over(b'}', "`,` or `}`")? {
                return Ok(());
            }
        }
    }

    fn pass_object(&mut self, depth: usize) -> Result<(), DecodeError> {
        if self.is_empty(b'}') {
            return Ok(());
        }
        let mut keys = Keys::default();
        loop {
            self.key(&mut keys)?;
            self.pass(depth)?;
            if self.is_over(b'}', "`,` or `}`")? {
                return Ok(());
            }
        }
    }

    /// An object or array that is nested too deep: by its brackets and strings alone, because nothing
    /// in it is asked for.
    #[cold]
    fn pass_too_deep(&mut self) -> Result<(), DecodeError> {
        self.note(DecodeError::TooDeep { at: self.at });
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.pass_string()?;
                    continue;
                }
                Some(b'[' | b'{') => open += 1,
                Some(b']' | b'}') => open -= 1,
                Some(_) => {}
                None => return Err(self.expected("`]` or `}`")),
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Behind the opening bracket of an object or array: whether `end` is the next.
    fn is_empty(&mut self, end: u8) -> bool {
        self.at += 1;
        self.skip_space();
        let is_empty = self.peek() == Some(end);
        self.at += usize::from(is_empty);
        is_empty
    }

    /// A key that is added to `keys`, and the colon behind it.
    fn key(&mut self, keys: &mut Keys<'a>) -> Result<Added, DecodeError> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        let key = self.string()?;
        let added = if keys.keys.len() >= JSON_KEYS_MAX && !self.takes_over(&key, at) {
            Added::Over
        } else {
            match keys.add(key) {
                Ok(()) => Added::Last,
                Err(place) => {
                    self.note(DecodeError::DuplicateKey { at });
                    Added::Before(place)
                }
            }
        };
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        self.skip_space();
        Ok(added)
    }

    /// Whether a key beyond the limit is kept all the same.
    #[cold]
    fn takes_over(&mut self, key: &str, at: usize) -> bool {
        self.note(DecodeError::TooManyKeys { at });
        NAMES.contains(&key)
    }

    /// Behind an element: whether `end` is there. If not, a comma must be.
    fn is_over(&mut self, end: u8, expected: &'static str) -> Result<bool, DecodeError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(false)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.expected(expected)),
        }
    }

    fn pass_array(&mut self, depth: usize) -> Result<(), DecodeError> {
        if self.is_empty(b']') {
            return Ok(());
        }
        loop {
            self.pass(depth)?;
            if self.is_over(b']', "`,` or `]`")? {
                return Ok(());
            }
        }
    }

    fn number(&mut self) -> Result<Value<'a>, DecodeError> {
        let start = self.at;
        let is_natural = self.pass_number()?;
        if is_natural && let Ok(integer) = self.text[start..self.at].parse() {
            return Ok(Value::Integer(integer));
        }
        Ok(Value::Number)
    }

    /// Checks a number; answers whether it has neither sign nor fraction nor exponent.
    fn pass_number(&mut self) -> Result<bool, DecodeError> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.expected("a digit")),
        }
        let (mut whole, mut has_power) = (true, false);
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            (whole, has_power) = (false, true);
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // So few digits are far below the edge.
        let may_be_huge = has_power || self.at - start >= number::DIGITS_FINITE;
        if may_be_huge && !number::is_finite(&self.text[start..self.at]) {
            self.note(DecodeError::HugeNumber { at: start });
        }
        Ok(whole && !negative)
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        let Some(b'0'..=b'9') = self.peek() else {
            return Err(self.expected("a digit"));
        };
        self.skip_digits();
        Ok(())
    }

    /// A string, from its opening to its closing quote.
    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.at += 1;
        let start = self.at;
        self.skip_plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let before = &self.text[start..self.at];
        let mut owned = String::with_capacity(before.len() + OWNED_BYTES_MORE);
        owned.push_str(before);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => owned.push(self.escape()?),
                Some(0) => owned.push(self.nul()),
                Some(_) => return Err(self.expected("no control character")),
                None => return Err(self.expected("`\"`")),
            }
            // Where escapes stand one behind the other, nothing stands between them.
            if self.peek() != Some(b'\\') {
                let from = self.at;
                self.skip_plain();
                owned.push_str(&self.text[from..self.at]);
            }
        }
    }

    /// The same, checked and not kept.
    fn pass_string(&mut self) -> Result<(), DecodeError> {
        self.at += 1;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape().map(|_| ())?,
                Some(0) => _ = self.nul(),
                Some(_) => return Err(self.expected("no control character")),
                None => return Err(self.expected("`\"`")),
            }
        }
    }

    /// U+0000 as it stands.
    #[cold]
    fn nul(&mut self) -> char {
        self.note(DecodeError::Nul { at: self.at });
        self.at += 1;
        '\0'
    }

    /// Skips what stands for itself in a string: all but quotes, backslashes and control
    /// characters. By 32 bytes, because most of a message is one long base64 string.
    fn skip_plain(&mut self) {
        let special = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
        let rest = &self.text.as_bytes()[self.at..];
        // Keys are short, and need no vectors.
        let near = &rest[..rest.len().min(8)];
        if let Some(plain) = near.iter().position(|&byte| special(byte)) {
            self.at += plain;
            return;
        }
        let (chunks, _) = rest.as_chunks::<32>();
        let plain = chunks
            .iter()
            .take_while(|chunk| !chunk.iter().fold(false, |any, &byte| any | special(byte)))
            .count();
        let skipped = plain * 32;
        let tail = &rest[skipped..];
        self.at += skipped + tail.iter().position(|&byte| special(byte)).unwrap_or(tail.len());
    }

    /// An escape, from its backslash on.
    fn escape(&mut self) -> Result<char, DecodeError> {
        let at = self.at;
        self.at += 1;
        let plain = match self.bump() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.escaped_unicode(at),
            _ => {
                self.at = at;
                return Err(self.expected("an escape"));
            }
        };
        Ok(plain)
    }

    /// `\uXXXX` behind its `u`, or two of them where the first is a leading surrogate.
    fn escaped_unicode(&mut self, at: usize) -> Result<char, DecodeError> {
        let lone = DecodeError::LoneSurrogate { at };
        let first = self.hex4()?;
        let code = match first {
            0 => {
                self.note(DecodeError::Nul { at });
                0
            }
            0xd800..0xdc00 => {
                if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    return Err(lone);
                }
                self.at += 2;
                let second = self.hex4()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(lone);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        if let Some(digits) = self.text.as_bytes()[self.at..].first_chunk::<4>()
            && digits.iter().all(u8::is_ascii_hexdigit)
        {
            self.at += digits.len();
            // The low four bits of a letter are nine less than its value.
            let value = |digit: u8| u32::from(digit & 0xf) + u32::from(digit >> 6) * 9;
            return Ok(digits.iter().fold(0, |code, &digit| code << 4 | value(digit)));
        }
        Err(self.not_hex())
    }

    /// The place at which a hexadecimal digit is missing.
    #[cold]
    fn not_hex(&mut self) -> DecodeError {
        let digits = self.text.as_bytes()[self.at..].iter();
        self.at += digits.take_while(|digit| digit.is_ascii_hexdigit()).count();
        self.expected("a hexadecimal digit")
    }
}
