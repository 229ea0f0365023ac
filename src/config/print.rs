//! Prints a configuration as TOML, in the order of its declaration: for `idlewild check` and, with the
//! comments of the fields, for docs/configuration.md.

use std::fmt::Write as _;

use toml::Value;

use super::root::Config;
use super::section::{ConfigKey, Section};

/// Prints all keys with their values. Secrets are not shown.
pub(crate) fn print(config: &Config) -> String {
    lines(config, |line, _| line)
}

/// Prints a line per key, changed by `finish`.
fn lines(config: &Config, finish: impl Fn(String, &ConfigKey) -> String) -> String {
    let line =
        |(key, value): (&ConfigKey, Value)| finish(format!("{} = {value}", key.name), key) + "\n";
    let table = |keys: &[ConfigKey], values: Vec<Value>| -> String {
        keys.iter().zip(values).map(line).collect()
    };
    let mut text = table(Config::KEYS, config.values());
    for ((section, keys), values) in Config::SECTIONS.iter().zip(config.values_of_sections()) {
        let _ = write!(text, "\n[{section}]\n{}", table(keys, values)); // writing to a String cannot fail
    }
    text
}

#[cfg(test)]
mod tests;
