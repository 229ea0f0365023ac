//! JSON that all wires have in common.

use std::borrow::Cow;

use crate::event::EventId;

/// The data of a gap.
pub(super) fn gap(last_event_id: &str, oldest: Option<EventId>) -> String {
    let oldest = oldest.map_or_else(|| "null".to_owned(), |oldest| format!("\"{oldest}\""));
    let last_event_id = escaped(last_event_id);
    format!(r#"{{"last_event_id": "{last_event_id}", "oldest": {oldest}}}"#)
}

/// A text as it stands between the quotes of a string.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    let is_plain = |byte| !matches!(byte, 0..=0x1f | b'"' | b'\\');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut quoted = serde_json::to_string(text).expect("a string serialises");
    quoted.pop();
    quoted.remove(0);
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_between_quotes_is_that_text(text in prop_oneof!["\\PC{0,40}", "[a\"\\\\\\x00-\\x20\\x7f]{0,20}"]) {
            let quoted = format!("\"{}\"", escaped(&text));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
