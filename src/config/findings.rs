//! Collects the errors of a configuration while it is read.
//!
//! A key with an invalid value keeps its default. So a rule about several keys first checks that all of
//! them are sound; consequences of another error are not reported.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ConfigError, ConfigErrors};

/// The errors so far, and the origin of each key's value.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<ConfigError>,
    /// Keys and list items with an error.
    flawed: BTreeSet<String>,
    /// Dotted key → file, variable or flag.
    origins: BTreeMap<String, String>,
}

impl Findings {
    /// Records that `origin` set `key`, replacing earlier ones.
    pub(super) fn set_by(&mut self, key: &str, origin: &str) {
        self.origins.retain(|set, _| !is_in(set, key));
        self.origins.insert(key.to_owned(), origin.to_owned());
    }

    /// Records the origin of a part of the value of `key`: of a list item (`[1]`) or a field (`[0].hash`).
    pub(super) fn set_inside_by(&mut self, key: &str, part: &str, origin: String) {
        self.origins.insert(format!("{key}{part}"), origin);
    }

    /// Adds an error about the value of `key`, which may name a list item (`listen[1]`).
    pub(super) fn reject(&mut self, key: &str, problem: impl AsRef<str>) {
        let error = ConfigError::key(key, problem);
        let error = match self.origin(key) {
            Some(origin) => error.from(origin),
            None => error,
        };
        self.reject_for(key, error);
    }

    /// Adds an error that has its own origin, and marks `key` as unsound.
    pub(super) fn reject_for(&mut self, key: &str, error: ConfigError) {
        self.flawed.insert(key.to_owned());
        self.errors.push(error);
    }

    /// Returns the value, or records the error about `key`.
    pub(super) fn note<T>(&mut self, key: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.reject(key, problem)).ok()
    }

    /// Returns true if the value of `key` was read, even if list items were left out.
    pub(super) fn is_read(&self, key: &str) -> bool {
        !self.flawed.contains(key)
    }

    /// Returns true if none of the keys, and no item in them, has an error.
    pub(super) fn are_sound(&self, keys: &[&str]) -> bool {
        !keys
            .iter()
            .any(|key| self.flawed.iter().any(|flawed| is_in(flawed, key)))
    }

    /// Returns `value` if there are no errors.
    pub(super) fn result<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(self.errors.into())
        }
    }

    /// The origin of `key`, or of the list that contains it (`admin.api_keys[0].hash`).
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

/// Returns true if `path` is `key`, or an item or field in its value.
fn is_in(path: &str, key: &str) -> bool {
    path.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
