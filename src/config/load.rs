//! Layers the sources over the defaults and reads the whole once.
//!
//! Each layer replaces values in one TOML table, and every value remembers where it came from, so
//! that an error can name the file, the variable or the flag to change. Text from variables and
//! flags is read as the *default's* type at that key: a secret of digits stays a string.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;
use super::error::{ConfigError, ConfigErrors, Findings, one_line};
use super::nearest::nearest;
use super::validate::{API_KEY_ADVISED_BYTES, validate};
use super::variables::{self, API_KEY_VARIABLES, ENV_PREFIX, SHORT_API_KEY};

/// Keys whose values never stand in an error.
const SECRET_KEYS: [&str; 3] = ["auth.secret", "admin.api_keys", "admin.api_key"];

/// Where a configuration comes from, weakest first.
#[derive(Clone, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Variables of the environment; names without the prefix `IDLEWILD_` are passed over.
    pub env: Vec<(String, String)>,
    /// Flags by dotted key; a list's key may repeat, each adding to the list.
    pub flags: Vec<(String, String)>,
    /// What stands in for secrets that nobody configured; `None` leaves them missing.
    pub dev: Option<DevSecrets>,
}

/// Secrets made up for `--dev`, once a process, so that a reload does not change them.
#[derive(Clone)]
pub struct DevSecrets {
    /// Stands in for `auth.secret`.
    pub auth_secret: String,
    /// Stands in for `admin.api_key`.
    pub api_key: String,
}

impl DevSecrets {
    /// Whether tokens are signed with the made-up secret, and not with a configured one.
    pub fn sign(&self, config: &Config) -> bool {
        self.auth_secret == config.auth.secret
    }
}

/// Reads the sources into a valid configuration.
///
/// # Errors
/// A line about each thing that is wrong.
pub fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    let mut layers = Layers::new()?;
    if let Some(path) = &sources.file {
        // Without the file's values, everything else would be guesses.
        layers.overlay_file(path)?;
    }
    let of_ours = |(name, value)| {
        let (name, value): (&String, &String) = (name, value);
        let rest = name.strip_prefix(ENV_PREFIX)?;
        (!variables::is_empty_api_key(name, value)).then_some((rest, name, value))
    };
    let variables = sources.env.iter().map(|(name, value)| (name, value));
    let mut variables: Vec<_> = variables.filter_map(of_ours).collect();
    // First, so that the key's full name overrides it.
    variables.sort_by_key(|(rest, ..)| *rest != SHORT_API_KEY);
    for (rest, name, value) in variables {
        layers.overlay_variable(name, rest, value);
    }
    layers.overlay_flags(&sources.flags);
    layers.read(sources.dev.as_ref())
}

/// What is worth a word to the operator although the configuration is accepted; a line each.
pub fn warnings(sources: &Sources, config: &Config) -> Vec<String> {
    let names = sources.env.iter().map(|(name, _)| name.as_str());
    let mut lines: Vec<String> = variables::unknown(names, &known_paths())
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
    let bytes = config.admin.api_key.len();
    if (1..API_KEY_ADVISED_BYTES).contains(&bytes) {
        lines.push(format!(
            "admin.api_key: {bytes} bytes long, use at least {API_KEY_ADVISED_BYTES} (`idlewild token api-key` makes one)"
        ));
    }
    lines
}

/// Whether the variable of this name sets a key.
pub(crate) fn is_known_variable(name: &str) -> bool {
    name.strip_prefix(ENV_PREFIX)
        .is_some_and(|rest| known_paths().contains(&variables::path(rest)))
}

/// The dotted paths of all keys.
fn known_paths() -> Vec<String> {
    Table::try_from(Config::default()).map_or_else(|_| Vec::new(), |table| paths(&table))
}

struct Layers {
    defaults: Table,
    table: Table,
    /// Dotted key → file, variable or flag.
    origins: BTreeMap<String, String>,
    findings: Findings,
    /// Keys whose value was not understood: the default stands in for it, so nothing that depends
    /// on one of them is judged.
    broken: BTreeSet<String>,
}

/// Keys that are judged together.
const TOGETHER: [&[&str]; 6] = [
    &[
        "auth.algorithms",
        "auth.secret",
        "auth.secret_file",
        "auth.public_keys",
        "auth.jwks",
        "auth.session_auth_url",
        "login.users_file",
    ],
    &["retry_min", "retry_max"],
    &["auth.max_token_life", "login.token_ttl"],
    &["cors.credentials", "cors.origins"],
    &["tls.listen", "tls.certificates"],
    &["listen", "admin_listen", "tls.listen"],
];

impl Layers {
    fn new() -> Result<Self, ConfigError> {
        let defaults = Table::try_from(Config::default())
            .map_err(|error| ConfigError::key("defaults", error.to_string()))?;
        Ok(Self {
            table: defaults.clone(),
            defaults,
            origins: BTreeMap::new(),
            findings: Findings::default(),
            broken: BTreeSet::new(),
        })
    }

    fn overlay_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let over: Table = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            ConfigError::syntax(path.to_owned(), line, error.message())
        })?;
        let origin = path.display().to_string();
        let known = paths(&self.defaults);
        self.overlay(over, "", &known, &origin);
        Ok(())
    }

    /// Notes what is wrong with a value of `key`, which is then left as it was.
    fn refuse(&mut self, key: &str, error: ConfigError) {
        self.broken.insert(key.to_owned());
        self.findings.note::<()>(Err(error));
    }

    /// Puts the values of `over`, which stands at `parent`, over what is there; `known` are the
    /// paths of all keys.
    fn overlay(&mut self, over: Table, parent: &str, known: &[String], origin: &str) {
        for (name, value) in over {
            let path = join(parent, &name);
            // A quoted name with a dot in it is no path.
            let known_value = find(&self.defaults, &path).filter(|_| !name.contains('.'));
            match (known_value, value) {
                (None, value) => {
                    let meant = meant(&path, &value, known);
                    let problem = format!(
                        "unknown key, the nearest is {meant} (`idlewild check --dev` prints every key)"
                    );
                    self.refuse(meant, ConfigError::key(path, problem).from(origin));
                }
                (Some(Value::Table(_)), Value::Table(over)) => {
                    self.overlay(over, &path, known, origin);
                }
                (Some(Value::Table(_)), other) => {
                    let kind = other.type_str();
                    let problem =
                        format!("is a table and got a value of type {kind}, write [{path}]");
                    self.refuse(&path, ConfigError::key(&path, problem).from(origin));
                }
                (Some(_), value) => self.set(&path, value, origin),
            }
        }
    }

    fn overlay_variable(&mut self, name: &str, rest: &str, text: &str) {
        let key = variables::path(rest);
        // One that sets no key is somebody else's; `warnings` tells.
        let Some(default) = find(&self.defaults, &key).filter(|default| !default.is_table()) else {
            return;
        };
        match interpret(default, text) {
            Ok(value) => self.set(&key, value, name),
            Err(problem) => self.refuse(&key, ConfigError::key(&key, problem).from(name)),
        }
    }

    fn overlay_flags(&mut self, flags: &[(String, String)]) {
        let mut values: BTreeMap<&str, Value> = BTreeMap::new();
        for (key, text) in flags {
            let flag = flag_name(key);
            let value = find(&self.defaults, key)
                .ok_or_else(|| "is no key of the configuration".to_owned())
                .and_then(|default| interpret(default, text));
            let value = match value {
                Ok(value) => value,
                Err(problem) => {
                    self.refuse(key, ConfigError::key(key, problem).from(&flag));
                    continue;
                }
            };
            match (values.get_mut(key.as_str()), value) {
                (Some(Value::Array(before)), Value::Array(more)) => before.extend(more),
                (_, value) => {
                    values.insert(key, value);
                }
            }
        }
        for (key, value) in values {
            self.set(key, value, &flag_name(key));
        }
    }

    fn set(&mut self, key: &str, value: Value, origin: &str) {
        let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.table;
        for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
            // `find` saw this path in the defaults, and no layer replaces a table by a value.
            let Some(Value::Table(inner)) = table.get_mut(parent) else {
                return;
            };
            table = inner;
        }
        table.insert(last.to_owned(), value);
        self.origins.insert(key.to_owned(), origin.to_owned());
    }

    fn read(mut self, dev: Option<&DevSecrets>) -> Result<Config, ConfigErrors> {
        let mut config = self.typed()?;
        if let Err(error) = resolve_secret(&mut config) {
            let error = self.traced(error);
            self.refuse("auth.secret_file", error);
        }
        trim_secrets(&mut config);
        if let Some(dev) = dev {
            fill_dev_secrets(&mut config, dev);
        }
        if config.base_path.ends_with('/') {
            config.base_path.pop();
        }
        for error in validate(&config) {
            if !error
                .of_key()
                .is_some_and(|key| self.depends_on_broken(key))
            {
                let error = self.traced(error);
                self.findings.note::<()>(Err(error));
            }
        }
        self.findings.result(config)
    }

    /// The table as a configuration, with the default for each value of another type.
    fn typed(&mut self) -> Result<Config, ConfigError> {
        loop {
            let table = Value::Table(self.table.clone());
            let error = match serde_path_to_error::deserialize(table) {
                Ok(config) => return Ok(config),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let problem = error.into_inner().message().to_owned();
            let error = self.traced(ConfigError::key(&path, without_secret(&path, problem)));
            let known = paths(&self.defaults);
            let key = known.iter().find(|key| is_at_or_in(&path, key));
            let default = key.and_then(|key| find(&self.defaults, key)).cloned();
            // Each turn mends one key that was set, so there are no more turns than keys.
            let (Some(key), Some(default)) = (key, default) else {
                return Err(error);
            };
            if self.broken.contains(key) && find(&self.table, key) == Some(&default) {
                return Err(error);
            }
            self.set(key, default, "");
            self.origins.remove(key);
            self.refuse(key, error);
        }
    }

    /// Whether what is wrong with `key` may only be so because another value was not understood.
    fn depends_on_broken(&self, key: &str) -> bool {
        let concerns = |one: &str| is_at_or_in(key, one);
        self.broken.iter().any(|broken| {
            concerns(broken)
                || TOGETHER.iter().any(|keys| {
                    keys.contains(&broken.as_str()) && keys.iter().any(|one| concerns(one))
                })
        })
    }

    /// The error with whoever set its key.
    fn traced(&self, error: ConfigError) -> ConfigError {
        match error.of_key().and_then(|key| origin(&self.origins, key)) {
            Some(origin) => error.from(origin),
            None => error,
        }
    }
}

/// Whether `path` is `key`, or stands in it (`listen[1]`, `admin.api_keys[0].hash`).
fn is_at_or_in(path: &str, key: &str) -> bool {
    path.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The key, or the table, that an unknown one most likely stands for.
fn meant<'a>(path: &str, value: &Value, known: &'a [String]) -> &'a str {
    let tables = || {
        known
            .iter()
            .filter_map(|path| Some(path.rsplit_once('.')?.0))
    };
    let nearest = if value.is_table() {
        nearest(path, tables())
    } else {
        nearest(path, known.iter().map(String::as_str))
    };
    nearest.unwrap_or_default()
}

/// `text` as a value of `default`'s type.
fn interpret(default: &Value, text: &str) -> Result<Value, String> {
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("`{text}` is no whole number")),
        Value::Float(_) => text
            .trim()
            .parse()
            .map(Value::Float)
            .map_err(|_| format!("`{text}` is no number")),
        Value::Boolean(_) => text
            .trim()
            .parse()
            .map(Value::Boolean)
            .map_err(|_| format!("`{text}` is neither true nor false")),
        Value::Array(_) => list(text.trim()),
        Value::Table(_) => Err(
            "is a table, set its keys (two underscores a level, as in IDLEWILD_AUTH__SECRET)"
                .to_owned(),
        ),
        Value::Datetime(_) => Err("has a type that no key has, datetime".to_owned()),
    }
}

/// `a, b` or `["a", "b"]`. Both brackets must stand, since `[::1]:8000` is one address.
fn list(text: &str) -> Result<Value, String> {
    if text.starts_with('[') && text.ends_with(']') {
        return match text.parse() {
            Ok(list @ Value::Array(_)) => Ok(list),
            // The text may hold the hash of a key: it is not repeated.
            _ => Err("starts with [ but is no TOML array (write [\"a\", \"b\"] or a,b)".to_owned()),
        };
    }
    Ok(text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into())
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((name, rest)) => find(table.get(name)?.as_table()?, rest),
    }
}

/// The dotted paths of all keys that hold values.
fn paths(table: &Table) -> Vec<String> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(inner) => paths(inner).iter().map(|rest| join(name, rest)).collect(),
            _ => vec![name.clone()],
        })
        .collect()
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

fn flag_name(key: &str) -> String {
    format!("--{}", key.replace(['_', '.'], "-"))
}

/// Who set `key`, or the list that `key` is an item of (`listen[1]`, `admin.api_keys[0].hash`).
fn origin<'a>(origins: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    let mut key = key;
    loop {
        if let Some(origin) = origins.get(key) {
            return Some(origin);
        }
        (key, _) = key.rsplit_once(['.', '['])?;
    }
}

/// `problem`, unless it may quote the value of a secret.
fn without_secret(key: &str, problem: String) -> String {
    let secret = SECRET_KEYS.iter().any(|secret| key.starts_with(secret));
    // These two name fields and quote no value.
    let harmless = ["missing field", "unknown field"]
        .iter()
        .any(|start| problem.starts_with(start));
    if secret && !harmless {
        return "has the wrong type (its value is not shown; secrets are quoted strings)"
            .to_owned();
    }
    problem
}

/// Puts the content of `auth.secret_file` where the secret is looked for.
fn resolve_secret(config: &mut Config) -> Result<(), ConfigError> {
    let path = &config.auth.secret_file;
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let refused = |problem: String| ConfigError::key("auth.secret_file", problem);
    if !config.auth.secret.trim().is_empty() {
        return Err(refused(format!(
            "`{}` beside auth.secret, keep one of the two",
            path.display()
        )));
    }
    let secret = fs::read_to_string(path).map_err(|error| {
        refused(format!(
            "`{}` cannot be read: {error} (openssl rand -hex 32 > the file)",
            path.display()
        ))
    })?;
    config.auth.secret = secret;
    Ok(())
}

/// Drops the white space around secrets and keys: a line feed that a shell or a secret store adds
/// would otherwise make every token bad.
fn trim_secrets(config: &mut Config) {
    let hashes = config.admin.api_keys.iter_mut().map(|key| &mut key.hash);
    let secrets = [&mut config.auth.secret, &mut config.admin.api_key];
    for secret in hashes.chain(secrets) {
        // An editor may put a byte order mark before a file's text.
        let text = secret.trim();
        *secret = text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .trim()
            .to_owned();
    }
}

/// Puts the made-up secrets where a developer configured none.
fn fill_dev_secrets(config: &mut Config, dev: &DevSecrets) {
    let auth = &mut config.auth;
    if auth.secret.is_empty() && auth.public_keys.is_empty() && auth.jwks.is_empty() {
        auth.secret.clone_from(&dev.auth_secret);
    }
    let admin = &mut config.admin;
    if admin.api_key.is_empty() && admin.api_keys.is_empty() {
        admin.api_key.clone_from(&dev.api_key);
    }
}

#[cfg(test)]
mod tests;
