//! The sources of a command's configuration.

use std::path::PathBuf;

use clap::Args;

use super::usage_error::UsageError;
use crate::config::{ConfigSources, DevSecrets, ENV_PREFIX, is_known_variable};

/// The sources of the configuration.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// TOML file; every key can also be an IDLEWILD_… variable.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    pub(super) fn sources(
        &self,
        flags: Vec<(String, String)>,
        dev: Option<DevSecrets>,
    ) -> Result<ConfigSources, UsageError> {
        Ok(ConfigSources {
            file: self.config.clone(),
            env: variables()?,
            flags,
            dev,
        })
    }
}

/// The environment variables with our prefix. A value that is not UTF-8 is an error if the variable sets
/// a key; ignoring it could silently turn off a check such as `auth.audience`.
fn variables() -> Result<Vec<(String, String)>, UsageError> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .filter_map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => Some(Ok((name, value))),
                Err(_) if !is_known_variable(&name) => None,
                Err(_) => Some(Err(UsageError(format!(
                    "{name}: its value is not UTF-8, set it again or unset it"
                )))),
            }
        })
        .collect()
}
