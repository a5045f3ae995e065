//! Listen addresses as text, with an error that says what one looks like.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A listen address in the configuration's text form.
struct Text(SocketAddr);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Address;
        impl Visitor<'_> for Address {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ADDRESS:PORT in digits, such as \"127.0.0.1:7400\" or \"[::1]:7400\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                text.parse().map(Text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        from.deserialize_str(Address)
    }
}

/// `#[serde(with = "one")]` for a `SocketAddr`.
pub(super) mod one {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SocketAddr, Text};

    /// Writes `ADDRESS:PORT`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub(crate) fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
        address.serialize(to)
    }

    /// Reads `ADDRESS:PORT`.
    ///
    /// # Errors
    /// If the text is no address with a port.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
        Text::deserialize(from).map(|text| text.0)
    }
}

/// `#[serde(with = "many")]` for a list of `SocketAddr`.
pub(super) mod many {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SocketAddr, Text};

    /// Writes a list of `ADDRESS:PORT`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub(crate) fn serialize<S: Serializer>(
        addresses: &[SocketAddr],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        addresses.serialize(to)
    }

    /// Reads a list of `ADDRESS:PORT`.
    ///
    /// # Errors
    /// If one of them is no address with a port.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<SocketAddr>, D::Error> {
        Ok(Vec::<Text>::deserialize(from)?.into_iter().map(|text| text.0).collect())
    }
}
