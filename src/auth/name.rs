//! Reads ids of users and sessions from JSON: a string, or an integer by its digits. The digits count
//! rather than the number, because databases have keys beyond 64 bits, and two of them must not
//! become one user.

use std::collections::BTreeMap;

use compact_str::{CompactString, ToCompactString as _};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{integer_digits, is_id};

/// The name in `field` of the object `json`; `value` is how it was parsed.
pub(super) fn name(value: &Value, json: &[u8], field: &str) -> Option<CompactString> {
    match value {
        Value::String(text) if is_id(text) => Some(text.into()),
        Value::Number(number) if !number.is_f64() => Some(number.to_compact_string()),
        // Parsed as a double, which has lost digits if it was an integer.
        Value::Number(_) => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
            let digits = integer_digits(fields.get(field)?.get())?;
            is_id(digits).then(|| digits.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(literal: &str) -> Option<CompactString> {
        let json = format!("{{\"a\": 1.5, \"user\": {literal} }}");
        let object: Value = serde_json::from_str(&json).unwrap();
        name(&object["user"], json.as_bytes(), "user")
    }

    #[test]
    fn other_json_values_are_not_names() {
        for literal in [
            "1.0", "1e3", "1E400000", "-0", "-0.0", "true", "[1]", "{}", "\"\"",
        ] {
            if serde_json::from_str::<Value>(literal).is_ok() {
                assert_eq!(read(literal), None, "{literal}");
            }
        }
    }

    proptest! {
        #[test]
        fn an_integer_of_any_size_keeps_its_digits(digits in "-?[1-9][0-9]{0,99}") {
            prop_assert_eq!(read(&digits), Some(digits.as_str().into()));
        }
    }
}
