//! A file with a secret. It is read together with the configuration.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use super::input_file::{is_readable, not_read};
use super::secret::Secret;
use super::setting::text_setting;

/// The path of a file and the secret in it. The secret is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    path: PathBuf,
    secret: Secret,
}

impl SecretFile {
    /// The content, without white space around it.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl FromStr for SecretFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        is_readable(&path)?;
        let text = fs::read_to_string(&path).map_err(|error| not_read(&path, &error))?;
        let secret = Secret::new(&text)
            .ok_or_else(|| format!("`{}` is empty (write the secret into it)", path.display()))?;
        Ok(Self { path, secret })
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

text_setting!(SecretFile);
