//! `[admin]`: who may publish.

use toml::{Table, Value};

use super::findings::Findings;
use super::key_hash::KeyHash;
use super::secret::{RawApiKey, Secret, secret_text};
use super::section::section;
use super::setting::{Form, Setting, item};

section! {
    /// `[admin]`: who may publish.
    pub struct Admin {
        /// `[{ name = "django", hash = "sha256:…" }]`; `idlewild token api-key` prints a key and its line.
        pub api_keys: Vec<ApiKey> = Vec::new();
        /// One raw key, meant for IDLEWILD_ADMIN__API_KEY.
        pub api_key: Option<Secret> as Option<RawApiKey> = None;
    }
}

/// A named key, stored as its hash.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Who uses it, for the log.
    pub name: String,
    /// The hash of the key.
    pub hash: KeyHash,
}

impl Setting for ApiKey {
    type Value = Self;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        let example = "{ name = \"django\", hash = \"sha256:…\" }";
        let [name, hash] = item(value, key, ["name", "hash"], example, findings)?;
        let (key, value) = name;
        let named = |name: String| {
            if name.trim().is_empty() {
                return Err("is empty, name who uses the key (it is in the log)".to_owned());
            }
            Ok(name)
        };
        // The value is not repeated in the error: it may be a key in the wrong field.
        let name = findings.note(&key, secret_text(value).and_then(named));
        let (key, value) = hash;
        let hash = KeyHash::read(value, &key, findings);
        Some(Self {
            name: name?,
            hash: hash?,
        })
    }

    fn write(value: &Self) -> Value {
        let fields = [
            ("name", String::write(&value.name)),
            ("hash", KeyHash::write(&value.hash)),
        ];
        Value::Table(Table::from_iter(
            fields.map(|(name, value)| (name.to_owned(), value)),
        ))
    }
}
