//! Where a command's configuration comes from.

use std::path::PathBuf;

use clap::Args;

use super::usage::Usage;
use crate::auth::api_key;
use crate::config::{ConfigSources, DevSecrets, ENV_PREFIX, is_known_variable};

/// Where the configuration comes from.
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
        dev: bool,
    ) -> Result<ConfigSources, Usage> {
        Ok(ConfigSources {
            file: self.config.clone(),
            env: variables()?,
            flags,
            dev: dev.then(|| DevSecrets {
                auth_secret: api_key::generate(),
                api_key: api_key::generate(),
            }),
        })
    }
}

/// The variables that begin like ours. One that sets a key and is not text is refused: passed over,
/// it would leave a check such as `auth.audience` off without a word.
fn variables() -> Result<Vec<(String, String)>, Usage> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .filter_map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => Some(Ok((name, value))),
                Err(_) if !is_known_variable(&name) => None,
                Err(_) => Some(Err(Usage(format!(
                    "{name}: its value is no UTF-8, set it again or unset it"
                )))),
            }
        })
        .collect()
}
