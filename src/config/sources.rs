//! The sources of a configuration.

use std::path::PathBuf;

use super::root::Config;
use super::secret::Secret;

/// The sources of a configuration, from the weakest to the strongest.
#[derive(Clone, Default)]
pub struct ConfigSources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables. Those without the prefix `IDLEWILD_` are ignored.
    pub env: Vec<(String, String)>,
    /// Flags by dotted key. A repeated flag of a list key adds to the list.
    pub flags: Vec<(String, String)>,
    /// Replaces secrets that are not configured; with `None` they stay missing.
    pub dev: Option<DevSecrets>,
}

/// Secrets for `--dev`, which the process has from its start, so that a reload does not change them.
#[derive(Clone)]
pub struct DevSecrets {
    /// Replaces `auth.secret`.
    pub auth_secret: String,
    /// Replaces `admin.api_key`.
    pub api_key: String,
}

impl DevSecrets {
    /// Returns true if tokens are signed with the generated secret.
    pub fn is_auth_secret_used(&self, config: &Config) -> bool {
        is_secret(config.auth.secret.as_ref(), &self.auth_secret)
    }

    /// Returns true if the generated API key is in use.
    pub fn is_api_key_used(&self, config: &Config) -> bool {
        is_secret(config.admin.api_key.as_ref(), &self.api_key)
    }

    /// Replaces these secrets by others, where they are in use.
    pub fn replace_by(&self, others: &Self, config: &mut Config) {
        if self.is_auth_secret_used(config) {
            config.auth.secret = Secret::new(&others.auth_secret);
        }
        if self.is_api_key_used(config) {
            config.admin.api_key = Secret::new(&others.api_key);
        }
    }

    /// Fills in the secrets that are not configured.
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

fn is_secret(secret: Option<&Secret>, text: &str) -> bool {
    secret.is_some_and(|secret| secret.expose() == text)
}
