//! What is wrong with a configuration, gathered while it is read.
//!
//! A key whose value was not understood keeps its default. So a rule about several keys asks first
//! whether all of them are sound: what follows from another error is not reported.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ConfigError, ConfigErrors};

/// The errors so far, and who set each key.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<ConfigError>,
    /// Keys, and items of lists, with an error.
    flawed: BTreeSet<String>,
    /// Dotted key → file, variable or flag.
    origins: BTreeMap<String, String>,
}

impl Findings {
    /// Remembers that `origin` set `key` last.
    pub(super) fn set_by(&mut self, key: &str, origin: &str) {
        self.origins.insert(key.to_owned(), origin.to_owned());
    }

    /// Adds an error about the value of `key`, or of the list item that it names (`listen[1]`).
    pub(super) fn reject(&mut self, key: &str, problem: impl AsRef<str>) {
        let error = ConfigError::key(key, problem);
        let error = match self.origin(key) {
            Some(origin) => error.from(origin),
            None => error,
        };
        self.reject_for(key, error);
    }

    /// Adds an error of its own origin, after which nothing is known about `key`.
    pub(super) fn reject_for(&mut self, key: &str, error: ConfigError) {
        self.flawed.insert(key.to_owned());
        self.errors.push(error);
    }

    /// The value, unless it is an error about `key`.
    pub(super) fn note<T>(&mut self, key: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.reject(key, problem)).ok()
    }

    /// Whether the value of `key` was read; items of a list may have been left out.
    pub(super) fn is_read(&self, key: &str) -> bool {
        !self.flawed.contains(key)
    }

    /// Whether there is no error about any of the keys, nor about an item in them.
    pub(super) fn are_sound(&self, keys: &[&str]) -> bool {
        let is_in = |flawed: &str, key: &str| {
            flawed
                .strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !keys
            .iter()
            .any(|key| self.flawed.iter().any(|flawed| is_in(flawed, key)))
    }

    /// `value`, if nothing was found.
    pub(super) fn result<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(self.errors.into())
        }
    }

    /// Who set `key`, or the list that it is an item of (`admin.api_keys[0].hash`).
    fn origin(&self, key: &str) -> Option<&str> {
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return Some(origin);
            }
            (key, _) = key.rsplit_once(['.', '['])?;
        }
    }
}
