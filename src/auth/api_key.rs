//! The admin side's keys: made here, stored as hashes, compared in constant time.
//!
//! A key is 256 random bits, so one round of SHA-256 protects it; slow hashes are for passwords.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::random_name;
use crate::config;

/// What every key starts with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "idw_";

/// What stands before the hash in a configuration file.
const HASH_PREFIX: &str = "sha256:";

/// A new key. It is shown once; [`hash`] is what the configuration keeps.
pub fn generate() -> String {
    format!("{PREFIX}{}", random_name())
}

/// The `hash` line of a key: `sha256:` and 64 hex digits.
pub fn hash(key: &str) -> String {
    let mut line = HASH_PREFIX.to_owned();
    for byte in digest(key) {
        let _ = write!(line, "{byte:02x}"); // a String never refuses
    }
    line
}

/// The keys that may publish.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    keys: Box<[(Box<str>, KeyHash)]>,
}

type KeyHash = [u8; 32];

impl ApiKeys {
    /// The keys of the configuration; the raw one, if set, goes by the name `env`. A hash that is
    /// none (the configuration's validation refuses it) is a key that nothing matches.
    pub fn new(admin: &config::Admin) -> Self {
        let named = admin
            .api_keys
            .iter()
            .filter_map(|key| Some((key.name.as_str().into(), parse(&key.hash)?)));
        let raw = (!admin.api_key.is_empty()).then(|| ("env".into(), digest(&admin.api_key)));
        Self {
            keys: named.chain(raw).collect(),
        }
    }

    /// The name of the key that was presented. How long it takes tells neither whether a key
    /// matched nor which: all are compared, and to the end.
    pub fn check(&self, presented: &str) -> Option<&str> {
        let presented = digest(presented);
        let mut found = u64::MAX;
        for (index, (_, hash)) in (0_u64..).zip(&self.keys) {
            let same: Choice = hash.ct_eq(&presented);
            found.conditional_assign(&index, same);
        }
        let (name, _) = self.keys.get(usize::try_from(found).ok()?)?;
        Some(name)
    }

    /// Whether the key of this [`hash`] is one of these.
    pub fn has(&self, hash: &str) -> bool {
        parse(hash).is_some_and(|hash| self.keys.iter().any(|(_, own)| *own == hash))
    }

    /// Whether there is no key, so that nobody may publish.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn digest(key: &str) -> KeyHash {
    Sha256::digest(key).into()
}

fn parse(line: &str) -> Option<KeyHash> {
    let digits = line.strip_prefix(HASH_PREFIX)?;
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = KeyHash::default();
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, hash: &str) -> config::ApiKey {
        config::ApiKey {
            name: name.to_owned(),
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn a_key_is_known_by_its_name() {
        let (django, worker) = (generate(), generate());
        let shouted = format!("sha256:{}", hash(&worker)["sha256:".len()..].to_uppercase());
        let keys = ApiKeys::new(&config::Admin {
            api_keys: vec![key("django", &hash(&django)), key("worker", &shouted)],
            api_key: "raw".to_owned(),
        });
        assert_eq!(keys.check(&django), Some("django"));
        assert_eq!(keys.check(&worker), Some("worker"));
        assert_eq!(keys.check("raw"), Some("env"));
        for wrong in ["", "idw_", &django[..46], &hash(&django), &generate()] {
            assert_eq!(keys.check(wrong), None);
        }
    }

    #[test]
    fn without_keys_nobody_is_let_in() {
        let keys = ApiKeys::new(&config::Admin::default());
        assert!(keys.is_empty());
        assert_eq!(keys.check(""), None);
    }

    #[test]
    fn a_hash_that_is_none_matches_nothing() {
        let bad = [
            "",
            "sha256:",
            "md5:00",
            &"0".repeat(64),
            &format!("sha256:{}", "g".repeat(64)),
        ];
        let admin = config::Admin {
            api_keys: bad.iter().map(|hash| key("bad", hash)).collect(),
            api_key: String::new(),
        };
        assert!(ApiKeys::new(&admin).is_empty());
    }

    #[test]
    fn keys_are_long_random_and_recognisable() {
        let key = generate();
        assert!(key.starts_with("idw_") && key.len() == 47, "{key}");
        assert_ne!(key, generate());
    }

    #[test]
    fn the_hash_is_plain_sha256() {
        // printf abc | sha256sum
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc"), expected);
    }
}
