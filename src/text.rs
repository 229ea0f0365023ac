//! What texts from outside may begin with.

/// U+FEFF in UTF-8, which some editors and libraries put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A text without the byte order mark that it may begin with.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}
