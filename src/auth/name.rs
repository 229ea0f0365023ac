//! Reads ids of users and sessions from JSON: a string, or an integer by its digits. The digits count
//! rather than the number, because databases have keys beyond 64 bits, and two of them must not
//! become one user.

use compact_str::CompactString;

use crate::event::{integer_digits, is_id};
use crate::text::json_string;

/// The name that a value's text stands for.
pub(super) fn name(json: &str) -> Option<CompactString> {
    if let Some(digits) = integer_digits(json) {
        return is_id(digits).then(|| digits.into());
    }
    let text = json_string(json).ok()?;
    is_id(&text).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_json_values_are_not_names() {
        for literal in [
            "1.0", "1e3", "1E400000", "-0", "-0.0", "true", "[1]", "{}", "\"\"",
        ] {
            assert_eq!(name(literal), None, "{literal}");
        }
    }

    proptest! {
        #[test]
        fn an_integer_of_any_size_keeps_its_digits(digits in "-?[1-9][0-9]{0,99}") {
            prop_assert_eq!(name(&digits), Some(digits.as_str().into()));
        }
    }
}
