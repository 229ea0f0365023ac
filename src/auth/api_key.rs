//! API keys of publishers: generates them, and checks them in constant time against stored hashes.

use std::sync::Arc;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::random_name;
use crate::config::{self, KeyHash};

/// Every key starts with this, so that people and secret scanners recognise one.
const PREFIX: &str = "idw_";

/// Generates a key. It is shown once; the configuration keeps its [`KeyHash`].
pub(crate) fn generate() -> String {
    format!("{PREFIX}{}", random_name())
}

/// The keys that may publish.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeys {
    keys: Box<[(Arc<str>, KeyHash)]>,
}

impl ApiKeys {
    /// The keys of the configuration. The raw key, if set, has the name `env`.
    pub(crate) fn new(admin: &config::Admin) -> Self {
        let keys = admin.api_keys.iter();
        let named = keys.map(|key| (key.name.as_str().into(), key.hash));
        let raw = admin.api_key.iter();
        let raw = raw.map(|key| ("env".into(), KeyHash::of(key.expose())));
        Self {
            keys: named.chain(raw).collect(),
        }
    }

    /// The name of the key that was presented. All hashes are compared completely, so the time reveals
    /// neither a match nor its place.
    pub(crate) fn check(&self, presented: &str) -> Option<&Arc<str>> {
        let presented = KeyHash::of(presented);
        let mut found = u64::MAX;
        for (index, (_, hash)) in (0_u64..).zip(&self.keys) {
            let same: Choice = hash.ct_eq(&presented);
            found.conditional_assign(&index, same);
        }
        let (name, _) = self.keys.get(usize::try_from(found).ok()?)?;
        Some(name)
    }

    /// Returns true if one of the keys has this hash.
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
        let check = |key: &str| keys.check(key).map(AsRef::as_ref);
        assert_eq!(check(&django), Some("django"));
        assert_eq!(check(&worker), Some("worker"));
        assert_eq!(check("raw"), Some("env"));
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
    fn without_keys_every_key_is_rejected() {
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
