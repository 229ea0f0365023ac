//! Stores an API key as its SHA-256. A key has 256 random bits, so one round is enough; slow hashes are
//! for passwords.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use toml::Value;

use super::findings::Findings;
use super::secret::{REDACTED, secret_text, trimmed};
use super::setting::{Form, Setting};

/// Precedes the hex digits.
const PREFIX: &str = "sha256:";

/// The hash of an API key. Its text is `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl ConstantTimeEq for KeyHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for KeyHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text is not repeated in the error: it may be the key itself.
        let rejected = "is not sha256: and 64 hex digits (`idlewild token api-key` prints a key with its hash)";
        let digits = trimmed(text).strip_prefix(PREFIX).ok_or(rejected)?;
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(rejected.to_owned());
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).ok_or(rejected)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| rejected)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Setting for KeyHash {
    type Value = Self;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        findings.note(key, secret_text(value).and_then(|text| text.parse()))
    }

    fn write(_: &Self) -> Value {
        Value::String(REDACTED.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_plain_sha256() {
        // printf abc | sha256sum
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of("abc").to_string(), expected);
        let shouted = format!("{PREFIX}{}", expected[PREFIX.len()..].to_uppercase());
        for text in [expected, &shouted, &format!(" {expected}\n")] {
            assert_eq!(text.parse(), Ok(KeyHash::of("abc")), "{text}");
        }
    }

    #[test]
    fn anything_else_is_rejected_and_not_repeated() {
        let bad = [
            "",
            "sha256:",
            "md5:00",
            &"0".repeat(64),
            &format!("sha256:{}", "g".repeat(64)),
        ];
        for text in bad {
            let error = text.parse::<KeyHash>().unwrap_err();
            assert!(error.starts_with("is not sha256: and 64 hex"), "{error}");
        }
        assert_eq!(format!("{:?}", KeyHash::of("abc")), REDACTED);
    }
}
