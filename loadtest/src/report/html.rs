//! Texts for HTML.

/// Escapes `text` for HTML, including attributes.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}

/// A number of runs in words.
pub(super) fn counted(count: usize) -> String {
    match count {
        1 => "one run".to_owned(),
        _ => format!("{count} runs"),
    }
}
