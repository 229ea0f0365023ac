//! Reads the files that a configuration names, before anything listens. `serve` starts with the result, a
//! reload applies it, and `check` only reports errors. All errors are reported together.

use super::{Dev, ServerError};
use crate::auth::accounts::Accounts;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, ConfigErrors, check_descriptors};
use crate::public::Reloadable;
use crate::sys;
use crate::tls::{Certificates, KeyLog, Tls};

/// The parts of a server that are built from its configuration alone.
pub(crate) struct Prepared {
    /// The limit of open descriptors.
    pub(super) nofile: u64,
    pub(super) reloadable: Reloadable,
    pub(super) accounts: Option<Accounts>,
    pub(super) tls: Option<Tls>,
}

impl Prepared {
    /// Reads the files that `config` names; uses no network.
    ///
    /// # Errors
    /// [`ServerError::Config`], with one line per problem.
    pub(crate) fn new(
        config: &Config,
        dev: Option<Dev>,
        clock: &Clock,
    ) -> Result<Self, ServerError> {
        let nofile = sys::raise_nofile().map_err(ServerError::Descriptors)?;
        let mut errors = Vec::new();
        note(&mut errors, check_descriptors(config, nofile));
        let reloadable = note(&mut errors, Reloadable::new(config));
        let key_log = if dev.is_some() {
            KeyLog::Environment
        } else {
            KeyLog::Off
        };
        let tls = note(&mut errors, Tls::new(&config.tls, key_log, clock.clone()));
        let accounts = note(&mut errors, accounts(config, dev));
        match (reloadable, tls, accounts) {
            (Some(reloadable), Some(tls), Some(accounts)) if errors.is_empty() => Ok(Self {
                nofile,
                reloadable,
                accounts,
                tls,
            }),
            _ => Err(ConfigErrors::from(errors).into()),
        }
    }
}

/// Builds the parts that a reload replaces; `tls` is the service that the server started with.
pub(super) fn reloaded(
    config: &Config,
    tls: Option<&Tls>,
) -> Result<(Reloadable, Option<Certificates>), ConfigErrors> {
    let mut errors = Vec::new();
    let reloadable = note(&mut errors, Reloadable::new(config));
    let certificates = tls.map(|tls| tls.read(&config.tls)).transpose();
    let certificates = note(&mut errors, certificates);
    match (reloadable, certificates) {
        (Some(reloadable), Some(certificates)) => Ok((reloadable, certificates.flatten())),
        _ => Err(errors.into()),
    }
}

/// The users of the built-in login; `None` if it is off.
fn accounts(config: &Config, dev: Option<Dev>) -> Result<Option<Accounts>, ConfigError> {
    if let Some(file) = &config.login.users_file {
        let accounts = Accounts::of(file);
        return accounts
            .map(Some)
            .map_err(|error| ConfigError::key("login.users_file", error.to_string()));
    }
    let has_user = dev.is_some_and(|dev| dev.has_user);
    Ok(has_user.then(Accounts::development))
}

/// Returns the value, or adds the error to `errors`.
fn note<T, E: Into<ConfigError>>(errors: &mut Vec<ConfigError>, read: Result<T, E>) -> Option<T> {
    read.map_err(|error| errors.push(error.into())).ok()
}
