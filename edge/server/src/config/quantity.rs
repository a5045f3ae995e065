//! Quantities as people write them: durations (`"5s"`) and sizes (`"64KiB"`).
//!
//! Owns the text form in both directions; used through `#[serde(with = ...)]`, so that the
//! configuration itself holds plain `Duration` and `u64`. Whole numbers only: a fraction of a
//! unit is written in the next smaller one.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};

/// Units of time, largest first: name and microseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units of size, largest first: name and bytes.
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Splits `5s` into the number and the unit and multiplies them; `None` on anything else,
/// overflow included.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(factor)
}

/// The shortest exact text: the largest unit that divides the amount.
fn print(amount: u64, units: &[(&str, u64)]) -> String {
    let smallest = units[units.len() - 1];
    let (name, factor) = units
        .iter()
        .copied()
        .find(|&(_, factor)| amount >= factor && amount.is_multiple_of(factor))
        .unwrap_or(smallest);
    format!("{}{name}", amount / factor)
}

/// A duration as text, for instance `15m`; what is below a microsecond is dropped.
pub fn duration_text(duration: Duration) -> String {
    print(duration.as_micros().try_into().unwrap_or(u64::MAX), &DURATION_UNITS)
}

/// A size as text, exact, for instance `64KiB`.
pub fn size_text(bytes: u64) -> String {
    print(bytes, &SIZE_UNITS)
}

/// A size for people: at most one decimal, never exact on purpose (`1.5 GiB`).
pub fn size_rounded(bytes: u64) -> String {
    let &(name, factor) =
        SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor).unwrap_or(&SIZE_UNITS[3]);
    if bytes.is_multiple_of(factor) {
        format!("{} {name}", bytes / factor)
    } else {
        format!("{:.1} {name}", bytes as f64 / factor as f64)
    }
}

/// `#[serde(with = "duration")]` for a `Duration`.
pub mod duration {
    use super::{DURATION_UNITS, Duration, Error, Visitor, duration_text, fmt, parse};

    /// Writes the shortest exact text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&duration_text(*value))
    }

    /// Reads `"500us"`, `"250ms"`, `"5s"`, `"15m"`, `"24h"` or `"30d"`.
    ///
    /// # Errors
    /// If the text is none of these.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration with its unit, such as \"250ms\", \"5s\", \"15m\" or \"30d\"",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                parse(text, &DURATION_UNITS)
                    .map(Duration::from_micros)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_str(Text)
    }
}

/// `#[serde(with = "size")]` for a `u64` of bytes.
pub mod size {
    use super::{Error, SIZE_UNITS, Visitor, fmt, parse, size_text};

    /// Writes the shortest exact text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&size_text(*value))
    }

    /// Reads `"64KiB"`, `"4GiB"` or a whole number of bytes.
    ///
    /// # Errors
    /// If the value is none of these.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64KiB\", \"16MiB\" or \"4GiB\", or a number of bytes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                text.parse()
                    .ok()
                    .or_else(|| parse(text, &SIZE_UNITS))
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
                u64::try_from(number)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
                Ok(number)
            }
        }
        from.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_durations_and_sizes_are_exact_both_ways() {
        for (text, ms) in [("250ms", 250), ("5s", 5_000), ("90s", 90_000), ("15m", 900_000)] {
            assert_eq!(parse(text, &DURATION_UNITS), Some(ms * 1_000), "{text}");
            assert_eq!(duration_text(Duration::from_millis(ms)), text);
        }
        for (text, us) in [("0us", 0), ("500us", 500), ("1500us", 1_500)] {
            assert_eq!(parse(text, &DURATION_UNITS), Some(us), "{text}");
            assert_eq!(duration_text(Duration::from_micros(us)), text);
        }
        for (text, bytes) in [("1B", 1), ("64KiB", 65_536), ("1000B", 1000), ("4GiB", 4 << 30)] {
            assert_eq!(parse(text, &SIZE_UNITS), Some(bytes), "{text}");
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "s", "5", "-5s", "5 parsecs", "1.5s", "99999999999999999999s", "५s"] {
            assert_eq!(parse(text, &DURATION_UNITS), None, "{text}");
        }
        assert_eq!(parse("18446744073709551615GiB", &SIZE_UNITS), None);
    }
}
