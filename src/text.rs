//! Texts from outside: byte order marks, and strings in JSON.

use std::borrow::Cow;

/// U+FEFF in UTF-8, which some editors and libraries put at the start of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Removes a byte order mark at the start of a text.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The content of a JSON string, which is copied only if it has escapes. `json` is the text of a valid value, such as that of
/// a `RawValue`.
///
/// # Errors
/// It is another value, or an escape stands for no character.
pub(crate) fn json_string(json: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    let quoted = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
        _ => serde_json::from_str(json).map(Cow::Owned),
    }
}
