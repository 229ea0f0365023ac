//! The settings that SIGHUP reloads: authentication of clients, and access for pages of other origins.

use std::sync::Arc;

use super::cors::Cors;
use crate::auth::jwt::Verifier;
use crate::auth::keys::KeysError;
use crate::auth::session::SessionAuth;
use crate::config::{Auth, Config, ConfigError};
use crate::outbound::NoRootCertificates;

/// The settings that SIGHUP reloads.
pub struct Reloadable {
    pub(super) verifier: Verifier,
    /// Asks the application to identify clients without a token.
    pub(super) sessions: Option<Arc<SessionAuth>>,
    pub(super) auth: Auth,
    pub(super) cors: Cors,
}

impl Reloadable {
    /// Loads the keys that the configuration names, but fetches no URL.
    ///
    /// # Errors
    /// [`ReloadableError`] if a setting cannot be used.
    pub fn new(config: &Config) -> Result<Self, ReloadableError> {
        let sessions = config.auth.session_auth_url.as_ref();
        let sessions = sessions
            .map(|url| SessionAuth::new(url, &config.auth.session_cookie).map(Arc::new))
            .transpose()
            .map_err(ReloadableError::Trust)?;
        Ok(Self {
            verifier: Verifier::new(&config.auth)?,
            sessions,
            auth: config.auth.clone(),
            cors: Cors::new(&config.cors),
        })
    }

    /// Takes over what `before` has fetched from URLs that have not changed.
    pub(super) fn take_over(&mut self, before: &Self) -> Result<(), KeysError> {
        if let (Some(keys), Some(known)) =
            (self.verifier.remote_keys(), before.verifier.remote_keys())
        {
            keys.take_over(known)?;
        }
        if let (Some(own), Some(known)) = (&self.sessions, &before.sessions)
            && own.is_same(known)
        {
            self.sessions = Some(Arc::clone(known));
        }
        Ok(())
    }
}

/// A reloadable setting cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages document the variants
pub enum ReloadableError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("auth.session_auth_url: {0}")]
    Trust(NoRootCertificates),
}

impl From<ReloadableError> for ConfigError {
    fn from(error: ReloadableError) -> Self {
        Self::content(error)
    }
}
