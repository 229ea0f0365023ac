//! The admin side's keys: made here, known by their hashes, compared in constant time.

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::random_name;
use crate::config::{self, KeyHash};

/// What every key starts with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "idw_";

/// A new key. It is shown once; its [`KeyHash`] is what the configuration keeps.
pub(crate) fn generate() -> String {
    format!("{PREFIX}{}", random_name())
}

/// The keys that may publish.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeys {
    keys: Box<[(Box<str>, KeyHash)]>,
}

impl ApiKeys {
    /// The keys of the configuration; the raw one, if set, goes by the name `env`.
    pub(crate) fn new(admin: &config::Admin) -> Self {
        let keys = admin.api_keys.iter();
        let named = keys.map(|key| (key.name.as_str().into(), key.hash));
        let raw = admin.api_key.iter();
        let raw = raw.map(|key| ("env".into(), KeyHash::of(key.expose())));
        Self {
            keys: named.chain(raw).collect(),
        }
    }

    /// The name of the key that was presented. How long it takes tells neither whether a key
    /// matched nor which: all are compared, and to the end.
    pub(crate) fn check(&self, presented: &str) -> Option<&str> {
        let presented = KeyHash::of(presented);
        let mut found = u64::MAX;
        for (index, (_, hash)) in (0_u64..).zip(&self.keys) {
            let same: Choice = hash.ct_eq(&presented);
            found.conditional_assign(&index, same);
        }
        let (name, _) = self.keys.get(usize::try_from(found).ok()?)?;
        Some(name)
    }

    /// Whether the key of this hash is one of these.
    pub(crate) fn has(&self, hash: KeyHash) -> bool {
        self.keys.iter().any(|(_, own)| *own == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn key(name: &str, hash: KeyHash) -> config::ApiKey {
        config::ApiKey {
            name: name.to_owned(),
            hash,
        }
    }

    #[test]
    fn a_key_is_known_by_its_name() {
        let (django, worker) = (generate(), generate());
        let keys = ApiKeys::new(&config::Admin {
            api_keys: vec![
                key("django", KeyHash::of(&django)),
                key("worker", KeyHash::of(&worker)),
            ],
            api_key: Secret::new("raw"),
        });
        assert_eq!(keys.check(&django), Some("django"));
        assert_eq!(keys.check(&worker), Some("worker"));
        assert_eq!(keys.check("raw"), Some("env"));
        for wrong in [
            "",
            "idw_",
            &django[..46],
            &KeyHash::of(&django).to_string(),
            &generate(),
        ] {
            assert_eq!(keys.check(wrong), None);
        }
    }

    #[test]
    fn without_keys_nobody_is_let_in() {
        let keys = ApiKeys::new(&config::Admin::default());
        assert!(keys.keys.is_empty());
        assert_eq!(keys.check(""), None);
    }

    #[test]
    fn keys_are_long_random_and_recognisable() {
        let key = generate();
        assert!(key.starts_with("idw_") && key.len() == 47, "{key}");
        assert_ne!(key, generate());
    }
}
