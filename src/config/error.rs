//! Why a configuration is refused: always one line that names the key, the value and the way out.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration is refused. Its text is one line and holds no secret.
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
    /// A key has a value that it cannot have, or is not a key at all.
    #[error("{key}: {problem}{}", From(.origin.as_deref()))]
    Key {
        /// Its dotted path.
        key: String,
        /// The value, what is wrong with it and the way out.
        problem: String,
        /// Which file, variable or flag set it; `None` for a default.
        origin: Option<String>,
    },
}

impl ConfigError {
    pub(crate) fn key(key: impl Into<String>, problem: impl AsRef<str>) -> Self {
        Self::Key {
            key: one_line(&key.into()),
            problem: one_line(problem.as_ref()),
            origin: None,
        }
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
struct From<'a>(Option<&'a str>);

impl fmt::Display for From<'_> {
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
