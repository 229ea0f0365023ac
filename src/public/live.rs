//! What SIGHUP may change: how clients prove who they are, and which pages may read.

use std::sync::Arc;

use super::cors::Cors;
use crate::auth::jwt::Verifier;
use crate::auth::keys::KeysError;
use crate::auth::session::SessionAuth;
use crate::config::{Auth, Config, ConfigError};
use crate::outbound::NoRootCertificates;

/// What SIGHUP may change.
pub struct Live {
    pub(super) verifier: Verifier,
    /// Where clients without a token are asked about.
    pub(super) sessions: Option<Arc<SessionAuth>>,
    pub(super) auth: Auth,
    pub(super) cors: Cors,
}

impl Live {
    /// Loads the keys that the configuration names; asks no URL.
    ///
    /// # Errors
    /// [`LiveError`] where something cannot be used.
    pub fn new(config: &Config) -> Result<Self, LiveError> {
        let sessions = config.auth.session_auth_url.as_ref();
        let sessions = sessions
            .map(|url| SessionAuth::new(url, &config.auth.session_cookie).map(Arc::new))
            .transpose()
            .map_err(LiveError::Trust)?;
        Ok(Self {
            verifier: Verifier::new(&config.auth)?,
            sessions,
            auth: config.auth.clone(),
            cors: Cors::new(&config.cors),
        })
    }

    /// Keeps what `before` has learnt from the URLs that are still the same.
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

/// Why what may change cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum LiveError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("auth.session_auth_url: {0}")]
    Trust(NoRootCertificates),
}

impl From<LiveError> for ConfigError {
    fn from(error: LiveError) -> Self {
        Self::content(error)
    }
}
