//! A file that a key names. It is read together with the configuration, and again at each reload.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::setting::text_setting;

/// The path and content of a file. The content is not shown, since it may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct InputFile {
    path: PathBuf,
    content: Arc<[u8]>,
}

impl InputFile {
    /// Reads a file.
    ///
    /// # Errors
    /// One line that says why it cannot be read.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        is_readable(&path)?;
        match fs::read(&path) {
            Ok(content) => Ok(Self {
                path,
                content: content.into(),
            }),
            Err(error) => Err(not_read(&path, &error)),
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

/// Rejects anything but a file. For files that are read later, this is the only check.
pub(super) fn is_readable(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(format!(
            "`{}` is not a file (name a readable file)",
            path.display()
        )),
        Err(error) => Err(not_read(path, &error)),
    }
}

/// The error about a file that cannot be read, with its path.
pub(super) fn not_read(path: &Path, error: &std::io::Error) -> String {
    let path = path.display();
    format!("`{path}` cannot be read: {error} (name a readable file)")
}

impl FromStr for InputFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        Self::read(path)
    }
}

impl fmt::Display for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl fmt::Debug for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

text_setting!(InputFile);
