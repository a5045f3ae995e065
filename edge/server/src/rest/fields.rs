//! The fields of a JSON body, each taken by its name, so that a refusal can name it.
//!
//! Owns the shape "one object of texts and numbers". Fields that nobody takes are ignored, as
//! everywhere on the wire; what is nested is passed over and costs no memory; a field that stands
//! twice is refused, for a proxy in front may have looked at the other one.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::problem::Problem;

/// The fields of one body.
#[derive(Debug)]
pub(super) struct Fields(HashMap<String, Field>);

#[derive(Debug)]
enum Field {
    Text(String),
    Number(u64),
    /// Of a kind that no endpoint takes.
    Other,
}

impl Fields {
    /// The fields of a JSON object.
    ///
    /// # Errors
    /// If the bytes are no JSON object, or a field stands in it twice.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let shape = "The body is one JSON object, and each of its fields stands in it once.";
        serde_json::from_slice(bytes).map_err(|_| Problem::BadRequest(shape))
    }

    /// Takes a text. `form` says what it is.
    ///
    /// # Errors
    /// If it is missing, or no text.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        form: &'static str,
    ) -> Result<String, Problem> {
        match self.take(name)? {
            Field::Text(text) => Ok(text),
            Field::Number(_) | Field::Other => Err(Problem::BadField { name, form }),
        }
    }

    /// Takes a whole number. `form` says which.
    ///
    /// # Errors
    /// If it is missing, or no whole number.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        form: &'static str,
    ) -> Result<u64, Problem> {
        match self.take(name)? {
            Field::Number(number) => Ok(number),
            Field::Text(_) | Field::Other => Err(Problem::BadField { name, form }),
        }
    }

    fn take(&mut self, name: &'static str) -> Result<Field, Problem> {
        self.0.remove(name).ok_or(Problem::MissingField(name))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = HashMap::new();
        // Ends: with the object, of which the body's limit bounds the fields.
        while let Some((name, field)) = map.next_entry()? {
            if fields.insert(name, field).is_some() {
                return Err(serde::de::Error::custom("a field stands twice"));
            }
        }
        Ok(Fields(fields))
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Field, A::Error> {
        // Ends: with the list, of which the body's limit bounds the length.
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        // Ends: with the object, as above.
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "`it` is something.";

    #[test]
    fn a_refusal_names_the_field() {
        let text = |body: &str| Fields::parse(body.as_bytes()).unwrap().text("it", FORM);
        let bad = || Err(Problem::BadField { name: "it", form: FORM });
        assert_eq!(text(r#"{"it":"a\u0062","more":[{"deep":[1]}]}"#), Ok("ab".to_owned()));
        assert_eq!(text(r#"{"It":"a"}"#), Err(Problem::MissingField("it")));
        for value in ["5", "-5", "5.5", "true", "null", "[\"a\"]", "{\"it\":\"a\"}"] {
            assert_eq!(text(&format!("{{\"it\":{value}}}")), bad(), "{value}");
        }
        let number = |body: &str| Fields::parse(body.as_bytes()).unwrap().number("it", FORM);
        assert_eq!(number(r#"{"it":7}"#), Ok(7));
        for value in ["\"7\"", "-7", "7.0", "18446744073709551616", "null"] {
            let refused = Err(Problem::BadField { name: "it", form: FORM });
            assert_eq!(number(&format!("{{\"it\":{value}}}")), refused, "{value}");
        }
    }

    #[test]
    fn what_is_no_object_of_single_fields_is_refused_as_a_whole() {
        for body in
            ["", "[]", "\"it\"", "{", "{}{}", "{\"it\":1,\"it\":1}", "{\"a\":1,\"\\u0061\":2}"]
        {
            let refused = Fields::parse(body.as_bytes()).unwrap_err();
            assert!(matches!(refused, Problem::BadRequest(_)), "{body}");
        }
        let deep = format!("{{\"it\":{}", "[".repeat(10_000));
        assert!(Fields::parse(deep.as_bytes()).is_err());
    }
}
