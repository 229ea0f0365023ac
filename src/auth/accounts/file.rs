//! Reads and writes the text of a user file, and adds accounts to it. The existing text stays as it is, including
//! comments. Concurrent readers see the old file or the new one, never a part.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use argon2::Params;

use super::accounts::{
    AccountId, Accounts, AccountsError, UserBlock, UserFile, UserFileProblem, hash_password,
};
use crate::auth::random_name;

/// Longest password. Argon2 has no such limit, but the body of a login request has.
const MAX_PASSWORD_BYTES: usize = 1_024;

/// Largest number that TOML can write.
const MAX_TOML_INT: u64 = i64::MAX as u64;

/// Adds an account and returns its id, which is the next free number if no `id` is given. If the file
/// does not exist, it is created, readable by its owner alone.
///
/// # Errors
/// The file cannot be read, written or extended, or the new account is invalid or a duplicate.
pub(crate) fn add(
    file: &Path,
    id: Option<&str>,
    email: &str,
    password: &str,
) -> Result<String, AccountsError> {
    add_with(file, id, email, password, Params::default())
}

pub(super) fn add_with(
    file: &Path,
    id: Option<&str>,
    email: &str,
    password: &str,
    params: Params,
) -> Result<String, AccountsError> {
    check_password(password)?;
    let mut text = match UserFileText::read(file) {
        Err(AccountsError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            UserFileText::new(file)
        }
        read => read?,
    };

    let id = match id {
        Some(id) => user_key(id),
        None => next_id(&Accounts::parse(text.as_str()).map_err(|problem| text.problem(problem))?),
    };
    let name = id.to_string();
    let addition = UserFile {
        users: vec![UserBlock {
            id,
            email: email.to_owned(),
            hash: hash_password(password, params).as_str().to_owned(),
        }],
    };
    let addition = toml::to_string(&addition)
        .map_err(|error| text.problem(UserFileProblem::Toml(error.to_string(), 0)))?;
    text.push_block(&addition);
    // Parsing the result finds duplicates, a bad address, and a file that cannot be extended.
    Accounts::parse(text.as_str()).map_err(|problem| text.problem(problem))?;
    text.write()?;
    Ok(name)
}

/// Rejects a password that no login request could send.
pub(super) fn check_password(password: &str) -> Result<(), AccountsError> {
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        return Err(AccountsError::Password);
    }
    Ok(())
}

/// The text of a user file, to be changed and written back.
pub(super) struct UserFileText {
    /// As it was given, for errors.
    name: PathBuf,
    /// Links are followed: the target is replaced, and the link stays.
    path: PathBuf,
    text: String,
}

impl UserFileText {
    /// An empty file.
    fn new(name: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: name.to_owned(),
            text: String::new(),
        }
    }

    /// Reads a file.
    pub(super) fn read(name: &Path) -> Result<Self, AccountsError> {
        let io = |source| AccountsError::Io {
            path: name.to_owned(),
            source,
        };
        Ok(Self {
            name: name.to_owned(),
            text: fs::read_to_string(name).map_err(io)?,
            path: fs::canonicalize(name).map_err(io)?,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// An error about this file.
    pub(super) fn problem(&self, problem: UserFileProblem) -> AccountsError {
        AccountsError::File {
            path: self.name.clone(),
            problem,
        }
    }

    pub(super) fn replace_range(&mut self, range: Range<usize>, replacement: &str) {
        self.text.replace_range(range, replacement);
    }

    fn push_block(&mut self, block: &str) {
        if !self.text.is_empty() {
            let is_line = self.text.ends_with('\n');
            self.text.push_str(if is_line { "\n" } else { "\n\n" });
        }
        self.text.push_str(block);
    }

    /// Replaces the file by this text.
    pub(super) fn write(&self) -> Result<(), AccountsError> {
        replace(&self.path, &self.text).map_err(|source| AccountsError::Io {
            path: self.name.clone(),
            source,
        })
    }
}

fn user_key(id: &str) -> AccountId {
    match id.parse::<u64>() {
        Ok(number) if number.to_string() == id && number <= MAX_TOML_INT => AccountId::Int(number),
        _ => AccountId::Text(id.to_owned()),
    }
}

/// One more than the largest number in use, so that the next id is never that of another account.
fn next_id(accounts: &Accounts) -> AccountId {
    let largest = accounts
        .accounts()
        .filter_map(|account| account.id.to_string().parse::<u64>().ok())
        .max();
    AccountId::Int(largest.map_or(1, |id| id.saturating_add(1)))
}

/// Writes a temporary file beside `path` and renames it. Owner and mode are kept.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = beside(path);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        if let Ok(before) = fs::metadata(path) {
            let own = file.metadata()?;
            if (before.uid(), before.gid()) != (own.uid(), own.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // the first error is the one that matters
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", random_name()))
}
