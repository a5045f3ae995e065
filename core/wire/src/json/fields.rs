//! The fields of one JSON text, taken by name and type.

use std::borrow::Cow;

use uuid::Uuid;

use super::base64;
use super::reader::{self, Entries, Value};
use crate::error::DecodeError;
use crate::id::DeviceId;
use crate::limits::{JSON_INTEGER_MAX, JSON_TEXT_BYTES_MAX, TIMESTAMP_MS_MAX};

/// The fields of a text. Each can be taken once; what is not asked for is ignored.
pub(super) struct Fields<'a>(Entries<'a>);

impl<'a> Fields<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// If it is too long or not one object by the rules of [`reader`].
    pub(super) fn read(text: &'a str) -> Result<Self, DecodeError> {
        let (fields, read) = Self::read_what_can_be(text);
        read.map(|()| fields)
    }

    /// The same, with what could be read of a text that is refused.
    pub(super) fn read_what_can_be(text: &'a str) -> (Self, Result<(), DecodeError>) {
        let mut entries = Entries::new();
        let read = Self::check_length(text).and_then(|()| reader::read_object(text, &mut entries));
        (Self(entries), read)
    }

    fn check_length(text: &str) -> Result<(), DecodeError> {
        if text.len() > JSON_TEXT_BYTES_MAX {
            return Err(DecodeError::TextTooBig {
                text_bytes: text.len(),
                max: JSON_TEXT_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn take(&mut self, field: &str) -> Option<Value<'a>> {
        let (_, value) = self.0.iter_mut().find(|(name, _)| name == field)?;
        Some(std::mem::replace(value, Value::Null)).filter(|value| *value != Value::Null)
    }

    pub(super) fn string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(string)) => Ok(Some(string)),
            Some(_) => Err(DecodeError::WrongType { field, expected: "a string" }),
        }
    }

    /// A word of a closed set.
    pub(super) fn word<T>(
        &mut self,
        field: &'static str,
        known: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let word = self.string(field)?.ok_or(DecodeError::Missing { field })?;
        known(&word).ok_or(DecodeError::UnknownValue { field })
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(DecodeError::WrongType { field, expected: "true or false" }),
        }
    }

    /// An integer from 0 to `max`, at most 2^53 - 1.
    pub(super) fn integer(
        &mut self,
        field: &'static str,
        max: u64,
    ) -> Result<Option<u64>, DecodeError> {
        let max = max.min(JSON_INTEGER_MAX);
        match self.take(field) {
            None => Ok(None),
            Some(Value::Integer(integer)) if integer <= max => Ok(Some(integer)),
            Some(Value::Integer(_)) => Err(DecodeError::OutOfRange { field, min: 0, max }),
            Some(_) => Err(DecodeError::WrongType { field, expected: "an integer" }),
        }
    }

    /// An integer that is 0 where it is absent.
    pub(super) fn count(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(self.integer(field, JSON_INTEGER_MAX)?.unwrap_or(0))
    }

    /// An integer that must be there.
    pub(super) fn required_count(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.integer(field, JSON_INTEGER_MAX)?.ok_or(DecodeError::Missing { field })
    }

    /// The same as [`Self::count`], of 32 bits.
    pub(super) fn small_count(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let count = self.integer(field, u32::MAX.into())?.unwrap_or(0);
        Ok(u32::try_from(count).expect("bounded just above"))
    }

    pub(super) fn number16(&mut self, field: &'static str) -> Result<Option<u16>, DecodeError> {
        let number = self.integer(field, u16::MAX.into())?;
        Ok(number.map(|number| u16::try_from(number).expect("bounded just above")))
    }

    /// The tag of a command, 0 where it is absent.
    pub(super) fn tag(&mut self) -> Result<u16, DecodeError> {
        Ok(self.number16("tag")?.unwrap_or(0))
    }

    pub(super) fn device(&mut self, field: &'static str) -> Result<DeviceId, DecodeError> {
        let max = u64::from(DeviceId::MAX);
        let number =
            self.integer(field, JSON_INTEGER_MAX)?.ok_or(DecodeError::Missing { field })?;
        u8::try_from(number).ok().and_then(DeviceId::new).ok_or(DecodeError::OutOfRange {
            field,
            min: 1,
            max,
        })
    }

    /// An id, nil where it is absent.
    pub(super) fn id_or_nil(&mut self, field: &'static str) -> Result<[u8; 16], DecodeError> {
        match self.take(field) {
            None => Ok([0; 16]),
            Some(Value::String(string)) => id(field, &string),
            Some(_) => Err(DecodeError::WrongType { field, expected: "a UUID as a string" }),
        }
    }

    /// An id that must be there and not be nil.
    pub(super) fn id(&mut self, field: &'static str) -> Result<[u8; 16], DecodeError> {
        self.id_or_nil(field).and_then(|id| given(field, id))
    }

    /// An array of strings, each given to `each`; absent is empty.
    pub(super) fn strings(
        &mut self,
        field: &'static str,
        mut each: impl FnMut(&str) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let wrong = DecodeError::WrongType { field, expected: "an array of strings" };
        match self.take(field) {
            None => Ok(()),
            Some(Value::Array(array)) => {
                reader::strings(array).try_for_each(|string| each(&string.ok_or(wrong)?))
            }
            Some(_) => Err(wrong),
        }
    }

    /// The same, of an array that must be there.
    pub(super) fn required_strings(
        &mut self,
        field: &'static str,
        each: impl FnMut(&str) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let is_there = self.0.iter().any(|(name, value)| name == field && *value != Value::Null);
        if is_there { self.strings(field, each) } else { Err(DecodeError::Missing { field }) }
    }

    /// Bytes in base64; absent is empty. `too_long` says what is wrong with more than `max`.
    pub(super) fn bytes(
        &mut self,
        field: &'static str,
        max: usize,
        too_long: impl FnOnce(usize) -> DecodeError,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        let Some(text) = self.string(field)? else { return Ok(None) };
        let decoded_bytes = base64::decoded_bytes(&text);
        if decoded_bytes > max {
            return Err(too_long(decoded_bytes));
        }
        let wrong = DecodeError::WrongType { field, expected: "standard base64 with padding" };
        base64::decode(&text).map(Some).ok_or(wrong)
    }

    /// `timestamp_ms`, else `timestamp` in seconds, else 0.
    pub(super) fn timestamp_ms(&mut self) -> Result<u64, DecodeError> {
        let seconds = self.integer("timestamp", TIMESTAMP_MS_MAX / 1000)?;
        let ms = self.integer("timestamp_ms", TIMESTAMP_MS_MAX)?;
        Ok(ms.or(seconds.map(|seconds| seconds * 1000)).unwrap_or(0))
    }
}

/// An id that must not be nil.
pub(super) fn given(field: &'static str, id: [u8; 16]) -> Result<[u8; 16], DecodeError> {
    if id == [0; 16] { Err(DecodeError::Missing { field }) } else { Ok(id) }
}

/// A UUID in its hyphenated form, the only one of 36 characters.
pub(super) fn id(field: &'static str, text: &str) -> Result<[u8; 16], DecodeError> {
    let wrong = DecodeError::WrongType { field, expected: "a UUID as a string" };
    if text.len() != 36 {
        return Err(wrong);
    }
    Uuid::try_parse(text).map(Uuid::into_bytes).map_err(|_| wrong)
}
