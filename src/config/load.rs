//! Reads the sources into a valid configuration, or reports all errors.

use std::fs;

use super::error::ConfigErrors;
use super::findings::Findings;
use super::layers::Layers;
use super::root::Config;
use super::rules;
use super::secret::Secret;
use super::section::Section;
use super::sources::ConfigSources;

/// Reads the sources into a valid configuration.
///
/// # Errors
/// All errors, one line each.
pub fn load(sources: &ConfigSources) -> Result<Config, ConfigErrors> {
    let Layers {
        table,
        mut findings,
    } = Layers::of(sources)?;
    let mut config = Config::read(table, "", &mut findings);
    read_secret_file(&mut config, &mut findings);
    if let Some(dev) = &sources.dev {
        dev.fill(&mut config);
    }
    rules::check(&config, &mut findings);
    findings.result(config)
}

/// Stores the content of `auth.secret_file` in `auth.secret`.
fn read_secret_file(config: &mut Config, findings: &mut Findings) {
    let Some(path) = &config.auth.secret_file else {
        return;
    };
    let shown = path.display();
    if config.auth.secret.is_some() {
        let problem = format!("`{shown}` beside auth.secret, keep one of the two");
        findings.reject("auth.secret_file", problem);
        return;
    }
    let text = fs::read_to_string(path).map_err(|error| {
        format!("`{shown}` cannot be read: {error} (openssl rand -hex 32 > the file)")
    });
    if let Some(text) = findings.note("auth.secret_file", text) {
        config.auth.secret = Secret::new(&text);
    }
}

#[cfg(test)]
mod tests;
