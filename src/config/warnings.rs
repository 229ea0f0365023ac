//! Warnings about a valid configuration.

use super::endpoint::Endpoint;
use super::error::one_line;
use super::keys;
use super::root::Config;
use super::sources::ConfigSources;
use super::variables::{self, API_KEY_VARIABLES, ENV_PREFIX};

/// A shorter API key causes a warning.
const API_KEY_ADVISED_BYTES: usize = 32;

/// Warnings about a valid configuration, one line each.
pub(crate) fn warnings(sources: &ConfigSources, config: &Config) -> Vec<String> {
    let names = sources.env.iter().map(|(name, _)| name.as_str());
    let mut lines: Vec<String> = variables::unknown(names, &keys::names())
        .map(|line| one_line(&line))
        .collect();
    let [raw, short] = API_KEY_VARIABLES.map(|wanted| {
        let mut env = sources.env.iter();
        env.find_map(|(name, value)| (name == wanted).then_some(value.trim()))
            .filter(|value| !value.is_empty())
    });
    if raw.is_some() && short.is_some() && raw != short {
        let [raw, short] = API_KEY_VARIABLES;
        lines.push(format!("{short}: ignored, {raw} is set to another key"));
    }
    if let Some(key) = &config.admin.api_key
        && key.len() < API_KEY_ADVISED_BYTES
    {
        let bytes = key.len();
        lines.push(format!(
            "admin.api_key: {bytes} bytes long, use at least {API_KEY_ADVISED_BYTES} (`idlewild token api-key` makes one)"
        ));
    }
    if config.admin.api_keys.is_empty() && config.admin.api_key.is_none() {
        lines.push(
            "admin.api_keys: is empty, nobody can publish (`idlewild token api-key` makes a key)"
                .to_owned(),
        );
    }
    for endpoint in &config.admin_listen {
        if let Endpoint::Tcp(address) = endpoint
            && address.ip().is_unspecified()
        {
            lines.push(format!(
                "admin_listen: {endpoint} accepts connections from every network of this machine; it is for publishers and operators only (listen on 127.0.0.1 or a private address, or let a firewall protect it)"
            ));
        }
    }
    lines
}

/// Returns true if this variable sets a key.
pub(crate) fn is_known_variable(name: &str) -> bool {
    let rest = name.strip_prefix(ENV_PREFIX);
    rest.is_some_and(|rest| keys::find(&variables::path(rest)).is_some())
}
