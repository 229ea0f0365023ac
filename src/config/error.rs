//! Errors about a configuration: one line each, with the key, the value and what to do.

use std::fmt;
use std::path::PathBuf;

/// An error about a configuration. Its text is one line and contains no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// The file or value of a key cannot be used. The text begins with the key.
    #[error("{0}")]
    Content(String),
    /// A key is unknown or has an invalid value.
    #[error("{key}: {problem}{}", SetBy(.origin.as_deref()))]
    Key {
        /// Its dotted path.
        key: String,
        /// The value, the problem and what to do.
        problem: String,
        /// The file, variable or flag that set the key; `None` for a default.
        origin: Option<String>,
    },
}

/// All errors of a configuration, at least one. The text has one line per error.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// `errors` must not be empty.
impl From<Vec<ConfigError>> for ConfigErrors {
    fn from(errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty());
        Self(errors)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl ConfigError {
    pub(crate) fn key(key: impl Into<String>, problem: impl AsRef<str>) -> Self {
        Self::Key {
            key: one_line(&key.into()),
            problem: one_line(problem.as_ref()),
            origin: None,
        }
    }

    /// An error about the file or value of a key. The text of `error` begins with the key.
    pub(crate) fn content(error: impl fmt::Display) -> Self {
        Self::Content(one_line(&error.to_string()))
    }

    pub(super) fn syntax(path: PathBuf, line: usize, message: &str) -> Self {
        Self::Syntax {
            path,
            line,
            message: one_line(message),
        }
    }

    /// Adds the origin of the value.
    pub(super) fn from(self, origin: &str) -> Self {
        match self {
            Self::Key { key, problem, .. } => Self::Key {
                key,
                problem,
                origin: Some(one_line(origin)),
            },
            other => other,
        }
    }
}

/// Shows ` [from idlewild.toml]` at the end of a line; nothing for a default.
struct SetBy<'a>(Option<&'a str>);

impl fmt::Display for SetBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(origin) => write!(f, " [from {origin}]"),
            None => Ok(()),
        }
    }
}

/// Escapes control characters: a value may contain line breaks, but an error is one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let (plain, escaped) = if c.is_control() {
                (None, Some(c.escape_default()))
            } else {
                (Some(c), None)
            };
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}
