//! A JSON object whose values are parsed when they are asked for: most of what a token says is never read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The fields of an object, each with its value as it is written.
pub(super) struct RawObject<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A JSON string. It is copied only if it has escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> RawObject<'a> {
    /// Reads the text of an object. `None` if it is anything else.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The text of a field's value; that of the last field, if there are several with this name (RFC 8259 §4 leaves
    /// it open, and most parsers do this). `None` if there is none, or if it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let field = self.0.iter().rev().find(|(field, _)| field.0 == name);
        field
            .map(|(_, value)| value.get())
            .filter(|text| *text != "null")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(Text<'de>, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Fields).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::text::json_string;

    fn value(json: &str, name: &str) -> Option<Value> {
        let object = RawObject::parse(json.as_bytes())?;
        object
            .get(name)
            .map(|text| serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_last_of_several_fields_counts_and_null_is_none() {
        let json = r#" { "a" : 1 , "b":null, "a": [ 2 ], "\u0063": "\n" } "#;
        assert_eq!(value(json, "a"), Some(serde_json::json!([2])));
        assert_eq!(value(json, "b"), None);
        assert_eq!(value(json, "c"), Some("\n".into()));
        assert_eq!(value(r#"{"a": 1, "a": null}"#, "a"), None);
    }

    #[test]
    fn other_texts_are_not_objects() {
        for json in [
            "", "[]", "[1]", "1", "null", "\"a\"", "{", "{\"a\"}", "{1: 2}", "{} {}",
        ] {
            assert!(RawObject::parse(json.as_bytes()).is_none(), "{json}");
        }
        assert!(RawObject::parse(b"{\"a\": \"\xff\"}").is_none());
    }

    proptest! {
        #[test]
        fn any_object_reads_as_with_a_map(
            fields: Vec<(String, Option<i64>, String)>,
            is_pretty: bool,
        ) {
            let fields = fields.into_iter().map(|(name, number, text)| {
                (name, number.map_or_else(|| text.into(), Value::from))
            });
            let map: serde_json::Map<String, Value> = fields.collect();
            let json = if is_pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) };
            let json = json.unwrap();
            let object = RawObject::parse(json.as_bytes()).unwrap();
            for (name, value) in &map {
                let written = object.get(name).unwrap();
                let read: Value = serde_json::from_str(written).unwrap();
                prop_assert_eq!(&read, value);
                let content = json_string(written).ok();
                prop_assert_eq!(content.as_deref(), value.as_str());
            }
        }
    }
}
