//! Merges the sources into one TOML table. Every value remembers its origin, so that an error can name
//! the line of the file, the variable or the flag to change.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::error::{ConfigError, ConfigErrors};
use super::file::{self, FileContent, FileEntry};
use super::findings::Findings;
use super::keys;
use super::nearest::nearest;
use super::sources::ConfigSources;
use super::variables::{self, ENV_PREFIX, SHORT_API_KEY};

/// The merged values, and the errors found while merging.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) table: Table,
    pub(super) findings: Findings,
}

impl Layers {
    /// Merges all sources.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML. Without its values, further errors would be meaningless.
    pub(super) fn of(sources: &ConfigSources) -> Result<Self, ConfigErrors> {
        let mut layers = Self::default();
        if let Some(path) = &sources.file {
            layers.overlay_file(path)?;
        }
        layers.overlay_variables(&sources.env);
        layers.overlay_flags(&sources.flags);
        Ok(layers)
    }

    fn overlay_file(&mut self, path: &Path) -> Result<(), ConfigErrors> {
        let FileContent { entries, flawed } = file::read(path)?;
        for (key, error) in flawed {
            self.findings.reject_for(&key, error);
        }
        for entry in entries {
            self.set_from_file(entry);
        }
        Ok(())
    }

    fn set_from_file(&mut self, entry: FileEntry) {
        let FileEntry {
            section,
            name,
            value,
            origin,
            inner_origins,
        } = entry;
        let path = match section {
            Some(section) => format!("{section}.{name}"),
            None => name.clone(),
        };
        // A quoted name that contains a dot is not a path.
        let is_key = !name.contains('.') && keys::find(&path).is_some();
        let (meant, problem) = if is_key {
            self.set(&path, value, &origin);
            for (inner, origin) in inner_origins {
                self.findings.set_inside_by(&path, &inner, origin);
            }
            return;
        } else if keys::is_section(&path) {
            let kind = value.type_str();
            let problem = format!("is a table and got a value of type {kind}, write [{path}]");
            (path.clone(), problem)
        } else {
            let meant = meant(&path, &value);
            let problem = format!(
                "unknown key, the nearest is {meant} (`idlewild check --dev` prints every key)"
            );
            (meant, problem)
        };
        let error = ConfigError::key(path, problem).from(&origin);
        self.findings.reject_for(&meant, error);
    }

    fn overlay_variables(&mut self, env: &[(String, String)]) {
        let of_ours = |(name, value): &'_ (String, String)| {
            let rest = name.strip_prefix(ENV_PREFIX)?.to_owned();
            let is_set = !variables::is_empty_api_key(name, value);
            is_set.then(|| (rest, name.clone(), value.clone()))
        };
        let mut variables: Vec<_> = env.iter().filter_map(of_ours).collect();
        // The short name first, so that the key's full name overrides it.
        variables.sort_by_key(|(rest, ..)| rest != SHORT_API_KEY);
        for (rest, name, text) in variables {
            let key = variables::path(&rest);
            // Not a key; `warnings` reports it.
            let Some(found) = keys::find(&key) else {
                continue;
            };
            match found.form.interpret(&text) {
                Ok(value) => self.set(&key, value, &name),
                Err(problem) => self.reject(&key, problem, &name),
            }
        }
    }

    fn overlay_flags(&mut self, flags: &[(String, String)]) {
        let mut values: BTreeMap<&str, Value> = BTreeMap::new();
        for (key, text) in flags {
            let value = keys::find(key)
                .ok_or_else(|| "is not a key of the configuration".to_owned())
                .and_then(|found| found.form.interpret(text));
            match (values.get_mut(key.as_str()), value) {
                (_, Err(problem)) => self.reject(key, problem, &flag_name(key)),
                (Some(Value::Array(before)), Ok(Value::Array(more))) => before.extend(more),
                (_, Ok(value)) => {
                    values.insert(key, value);
                }
            }
        }
        for (key, value) in values {
            self.set(key, value, &flag_name(key));
        }
    }

    fn reject(&mut self, key: &str, problem: String, origin: &str) {
        let error = ConfigError::key(key, problem).from(origin);
        self.findings.reject_for(key, error);
    }

    fn set(&mut self, key: &str, value: Value, origin: &str) {
        self.findings.set_by(key, origin);
        let table = match key.split_once('.') {
            None => Some((&mut self.table, key)),
            Some((section, name)) => {
                let section = self.table.entry(section);
                let section = section.or_insert_with(|| Value::Table(Table::new()));
                section.as_table_mut().map(|table| (table, name))
            }
        };
        if let Some((table, name)) = table {
            table.insert(name.to_owned(), value);
        }
    }
}

/// The key or section that an unknown one most likely means.
fn meant(path: &str, value: &Value) -> String {
    let names = keys::names();
    let tables = || {
        names
            .iter()
            .filter_map(|name| Some(name.split_once('.')?.0))
    };
    let nearest = if value.is_table() {
        nearest(path, tables())
    } else {
        nearest(path, names.iter().map(String::as_str))
    };
    nearest.unwrap_or_default().to_owned()
}

fn flag_name(key: &str) -> String {
    format!("--{}", key.replace(['_', '.'], "-"))
}
