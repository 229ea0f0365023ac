//! Why a configuration is rejected: one line per error, with the key, the value and what to do.

use std::fmt;
use std::path::PathBuf;

/// One error of a configuration. Its text is one line and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file given cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where in it, counted from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// What a key names cannot be used; the text begins with the key.
    #[error("{0}")]
    Content(String),
    /// A key has a value that it cannot have, or is not a key at all.
    #[error("{key}: {problem}{}", SetBy(.origin.as_deref()))]
    Key {
        /// Its dotted path.
        key: String,
        /// The value, what is wrong with it and the way out.
        problem: String,
        /// Which file, variable or flag set it; `None` for a default.
        origin: Option<String>,
    },
}

/// Everything that is wrong with a configuration, at least one error; its text is a line each.
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

/// At least one.
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

    /// What a key names cannot be used, as `error` says; its text begins with the key.
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

    /// The same, set by `origin`.
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

/// ` [from idlewild.toml]` behind a line; nothing for a default.
struct SetBy<'a>(Option<&'a str>);

impl fmt::Display for SetBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(origin) => write!(f, " [from {origin}]"),
            None => Ok(()),
        }
    }
}

/// `text` with control characters escaped: a value may hold line breaks, its report may not.
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
