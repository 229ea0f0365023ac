//! The accounts of a user file, and checking their passwords.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use argon2::password_hash::{PasswordHash, PasswordHashString, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use serde::{Deserialize, Serialize};

use crate::auth::random;
use crate::config::InputFile;
use crate::event::is_id;

/// Most accounts in a file. It is read whole at start, and meant for small deployments.
const MAX_USERS: usize = 100_000;

/// Longest email address (RFC 5321 §4.5.3.1.3 allows a path of 256 with its brackets).
const MAX_EMAIL_BYTES: usize = 254;

/// All accounts that can log in.
#[derive(Debug)]
pub struct Accounts {
    all: Vec<StoredAccount>,
    /// By lower-case address.
    by_email: HashMap<String, usize>,
    /// Stands in for an account's hash if there are no accounts at all.
    fallback_hash: PasswordHashString,
    decoy_hasher: ahash::RandomState,
}

#[derive(Debug)]
struct StoredAccount {
    account: Account,
    hash: PasswordHashString,
}

/// A user who can log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// As written in tokens.
    pub id: AccountId,
    /// As written in the file.
    pub email: String,
}

/// An account's id: a number or a string, and shown to clients in the same form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AccountId {
    /// A number, as in Django.
    Int(u64),
    /// Anything else, such as a UUID.
    Text(String),
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(id) => id.fmt(f),
            Self::Text(id) => id.fmt(f),
        }
    }
}

impl Accounts {
    /// Reads the accounts from a user file.
    ///
    /// # Errors
    /// The file is not a valid user file.
    pub fn of(file: &InputFile) -> Result<Self, AccountsError> {
        let text = std::str::from_utf8(file.content()).map_err(|_| UserFileProblem::NotUtf8);
        text.and_then(Self::parse)
            .map_err(|problem| AccountsError::File {
                path: file.path().to_owned(),
                problem,
            })
    }

    /// The only account of `--dev`: `user@example.com`, password `password`, id 1.
    pub fn development() -> Self {
        // The lowest cost that Argon2id allows. The password is public anyway.
        #[allow(clippy::expect_used)]
        let params = Params::new(Params::MIN_M_COST, Params::MIN_T_COST, 1, None)
            .expect("the crate accepts its own minimum costs");
        let account = Account {
            id: AccountId::Int(1),
            email: "user@example.com".to_owned(),
        };
        let hash = hash_password("password", params);
        Self {
            by_email: HashMap::from([(account.email.clone(), 0)]),
            fallback_hash: hash.clone(),
            all: vec![StoredAccount { account, hash }],
            decoy_hasher: ahash::RandomState::new(),
        }
    }

    /// The account with this address and password. An unknown address takes the same time.
    ///
    /// Takes tens of milliseconds of CPU time on purpose: call it where blocking is allowed.
    pub fn check(&self, email: &str, password: &str) -> Option<&Account> {
        let email = email.to_lowercase();
        let known = self.by_email.get(&email).copied();
        // An unknown address is always checked against the same decoy. So timing does not reveal whether an
        // address is known, even if the accounts' costs differ.
        let decoy = || self.decoy_hasher.hash_one(&email) % self.all.len().max(1) as u64;
        let index = known.or_else(|| usize::try_from(decoy()).ok());
        let stored = index.and_then(|index| self.all.get(index));
        let hash = stored.map_or(&self.fallback_hash, |stored| &stored.hash);
        let right = Argon2::default()
            .verify_password(password.as_bytes(), &hash.password_hash())
            .is_ok();
        stored
            .filter(|_| right && known.is_some())
            .map(|stored| &stored.account)
    }

    /// The number of accounts.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns true if there are no accounts.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All accounts, in the order of the file.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.all.iter().map(|stored| &stored.account)
    }

    pub(super) fn parse(text: &str) -> Result<Self, UserFileProblem> {
        let file: UserFile = toml::from_str(text).map_err(|error| {
            UserFileProblem::Toml(error.message().to_owned(), line(text, error.span()))
        })?;
        if file.users.len() > MAX_USERS {
            return Err(UserFileProblem::TooMany(file.users.len()));
        }
        let mut by_email = HashMap::with_capacity(file.users.len());
        let mut ids = HashSet::with_capacity(file.users.len());
        let mut accounts = Vec::with_capacity(file.users.len());
        for block in file.users {
            if !is_email(&block.email) {
                return Err(UserFileProblem::Email(block.email));
            }
            // 1 and "1" are the same user in a token.
            let id = block.id.to_string();
            if !is_id(&id) {
                return Err(UserFileProblem::Id(id));
            }
            let email = block.email.to_lowercase();
            if by_email.insert(email, accounts.len()).is_some() {
                return Err(UserFileProblem::DuplicateEmail(block.email));
            }
            if !ids.insert(id.clone()) {
                return Err(UserFileProblem::DuplicateId(id));
            }
            let hash = argon2id(&block.hash).ok_or(UserFileProblem::Hash(block.email.clone()))?;
            let account = Account {
                id: block.id,
                email: block.email,
            };
            accounts.push(StoredAccount { account, hash });
        }
        let fallback_hash = match accounts.first() {
            Some(first) => first.hash.clone(),
            None => hash_password("", Params::default()),
        };
        Ok(Self {
            all: accounts,
            by_email,
            fallback_hash,
            decoy_hasher: ahash::RandomState::new(),
        })
    }
}

/// The user file as TOML.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UserFile {
    pub(super) users: Vec<UserBlock>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserBlock {
    pub(super) id: AccountId,
    pub(super) email: String,
    pub(super) hash: String,
}

/// Why a user file cannot be used or changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum AccountsError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {problem}")]
    File {
        path: PathBuf,
        problem: UserFileProblem,
    },
    #[error("a password of 1 to 1024 bytes is needed")]
    Password,
    #[error("no user has the email {0:?} (`idlewild user list` shows all)")]
    Unknown(String),
}

/// What is wrong with the content of a user file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum UserFileProblem {
    #[error("is not UTF-8 text")]
    NotUtf8,
    #[error("line {1}: {0}")]
    Toml(String, usize),
    #[error("{0} users, at most 100000 are read")]
    TooMany(usize),
    #[error("{0:?} is not an email address")]
    Email(String),
    #[error("id {0:?}: 1 to 256 bytes without control characters are needed")]
    Id(String),
    #[error("two users have the email {0:?}")]
    DuplicateEmail(String),
    #[error("two users have the id {0:?}")]
    DuplicateId(String),
    #[error("{0}: is not in a [[users]] block of its own; edit the file by hand")]
    Form(String),
    #[error("{0}: hash: not an Argon2id hash (idlewild user add makes one)")]
    Hash(String),
}

/// A minimal check: rejects only what would break elsewhere.
fn is_email(text: &str) -> bool {
    text.len() <= MAX_EMAIL_BYTES
        && text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && !text.contains(|letter: char| letter.is_control() || letter.is_whitespace())
}

fn argon2id(text: &str) -> Option<PasswordHashString> {
    let hash = PasswordHash::new(text).ok()?;
    let usable = hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.salt.is_some()
        && hash.hash.is_some()
        && Params::try_from(&hash).is_ok();
    usable.then(|| hash.serialize())
}

pub(super) fn hash_password(password: &str, params: Params) -> PasswordHashString {
    #[allow(clippy::expect_used)]
    let salt = SaltString::encode_b64(&random::<16>())
        .expect("16 bytes are the salt length that the PHC format recommends");
    #[allow(clippy::expect_used)]
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .expect("the parameters are valid, and so is a password below 4 GiB")
        .serialize()
}

/// The line that a TOML error is on.
fn line(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let end = span.map_or(0, |span| span.start);
    let before = text.get(..end).unwrap_or_default();
    1 + before.matches('\n').count()
}
