//! Secrets in the configuration. They are never shown, and white space around them is removed: a line
//! break that a shell or a secret store adds would make every token invalid.

use std::fmt;

use toml::Value;

use super::findings::Findings;
use super::setting::{Form, Setting};

/// Shown instead of a secret.
pub(super) const REDACTED: &str = "<redacted>";

/// Shorter keys can be guessed. A generated key has 47 bytes.
const API_KEY_MIN_BYTES: usize = 16;

/// A secret text, which is never shown and never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The secret in `text`; `None` if that is only white space.
    pub fn new(text: &str) -> Option<Self> {
        let text = trimmed(text);
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The secret itself, for signing or comparing.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)] // it is never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Removes white space, and an editor's byte order mark, around `text`.
pub(super) fn trimmed(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('\u{feff}').unwrap_or(text).trim()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The text of a secret value. The error does not repeat the value.
pub(super) fn secret_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("has the wrong type (its value is not shown; secrets are quoted strings)".into()),
    }
}

impl Setting for Secret {
    type Value = Self;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        let secret = secret_text(value).and_then(|text| Self::new(&text).ok_or("is empty".into()));
        findings.note(key, secret)
    }

    fn write(_: &Self) -> Value {
        Value::String(REDACTED.to_owned())
    }

    fn is_unset(text: &str) -> bool {
        trimmed(text).is_empty()
    }
}

/// Reads a raw API key: a [`Secret`] that fits into a header and is long enough.
pub(super) enum RawApiKey {}

impl Setting for RawApiKey {
    type Value = Secret;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Secret> {
        let secret = Secret::read(value, key, findings)?;
        let is_printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let checked = if !secret.expose().bytes().all(is_printable) {
            Err("has characters other than printable ASCII, which headers cannot carry (`idlewild token api-key` makes a key)".to_owned())
        } else if secret.len() < API_KEY_MIN_BYTES {
            Err(format!(
                "{} bytes long, at least {API_KEY_MIN_BYTES} are needed (`idlewild token api-key` makes a key)",
                secret.len()
            ))
        } else {
            Ok(secret)
        };
        findings.note(key, checked)
    }

    fn write(value: &Secret) -> Value {
        Secret::write(value)
    }

    fn is_unset(text: &str) -> bool {
        Secret::is_unset(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_secret_is_not_part_of_it() {
        for text in ["a b", "\n a b\t \r\n\n", "\u{feff}a b\r\n", " \u{feff} a b"] {
            assert_eq!(Secret::new(text).unwrap().expose(), "a b", "{text:?}");
        }
        for text in ["", " \n", "\u{feff}\r\n"] {
            assert_eq!(Secret::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2").unwrap();
        let shown = format!("{secret:?} {}", Secret::write(&secret));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
