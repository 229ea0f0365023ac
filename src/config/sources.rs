//! Where a configuration comes from.

use std::path::PathBuf;

use super::root::Config;
use super::secret::Secret;

/// Where a configuration comes from, weakest first.
#[derive(Clone, Default)]
pub struct ConfigSources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Variables of the environment; names without the prefix `IDLEWILD_` are passed over.
    pub env: Vec<(String, String)>,
    /// Flags by dotted key; a list's key may repeat, each adding to the list.
    pub flags: Vec<(String, String)>,
    /// What stands in for secrets that nobody configured; `None` leaves them missing.
    pub dev: Option<DevSecrets>,
}

/// Secrets made up for `--dev`, once per process, so that a reload does not change them.
#[derive(Clone)]
pub struct DevSecrets {
    /// Stands in for `auth.secret`.
    pub auth_secret: String,
    /// Stands in for `admin.api_key`.
    pub api_key: String,
}

impl DevSecrets {
    /// Whether tokens are signed with the made-up secret, and not with a configured one.
    pub fn sign(&self, config: &Config) -> bool {
        is(config.auth.secret.as_ref(), &self.auth_secret)
    }

    /// Whether the made-up API key is in force, and not a configured one.
    pub fn are_for_publishers(&self, config: &Config) -> bool {
        is(config.admin.api_key.as_ref(), &self.api_key)
    }

    /// Puts the made-up secrets where a developer configured none.
    pub(super) fn fill(&self, config: &mut Config) {
        let auth = &mut config.auth;
        if auth.secret.is_none() && auth.public_keys.is_empty() && auth.jwks.is_none() {
            auth.secret = Secret::new(&self.auth_secret);
        }
        let admin = &mut config.admin;
        if admin.api_key.is_none() && admin.api_keys.is_empty() {
            admin.api_key = Secret::new(&self.api_key);
        }
    }
}

fn is(secret: Option<&Secret>, text: &str) -> bool {
    secret.is_some_and(|secret| secret.expose() == text)
}
