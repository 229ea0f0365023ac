//! Changes and removes accounts of a user file. The rest of the text stays as it is, including comments.

use std::ops::Range;
use std::path::Path;

use argon2::Params;
use toml::de::{DeTable, DeValue};

use super::accounts::{
    Accounts, AccountsError, UserBlock, UserFile, UserFileProblem, hash_password,
};
use super::file::{UserFileText, check_password};

/// The ids and addresses of all accounts, in the order of the file.
///
/// # Errors
/// The file cannot be read or is not a valid user file.
pub(crate) fn list(file: &Path) -> Result<Vec<(String, String)>, AccountsError> {
    let text = UserFileText::read(file)?;
    let accounts = Accounts::parse(text.as_str()).map_err(|problem| text.problem(problem))?;
    let accounts = accounts.accounts();
    Ok(accounts
        .map(|account| (account.id.to_string(), account.email.clone()))
        .collect())
}

/// Removes the account with this address, and returns its id.
///
/// # Errors
/// There is no such account, or the file cannot be read or changed.
pub(crate) fn remove(file: &Path, email: &str) -> Result<String, AccountsError> {
    change(file, email, Edit::Remove)
}

/// Gives the account with this address another password, and returns its id.
///
/// # Errors
/// There is no such account, the password cannot be used, or the file cannot be read or changed.
pub(crate) fn set_password(
    file: &Path,
    email: &str,
    password: &str,
) -> Result<String, AccountsError> {
    set_password_with(file, email, password, Params::default())
}

pub(super) fn set_password_with(
    file: &Path,
    email: &str,
    password: &str,
    params: Params,
) -> Result<String, AccountsError> {
    check_password(password)?;
    let hash = hash_password(password, params).to_string();
    change(file, email, Edit::Hash(hash))
}

enum Edit {
    Remove,
    /// Replace the hash.
    Hash(String),
}

/// Where an account is in the text.
struct Place {
    /// Its lines, with the empty ones that follow.
    lines: Range<usize>,
    hash: Range<usize>,
}

fn change(file: &Path, email: &str, edit: Edit) -> Result<String, AccountsError> {
    let mut text = UserFileText::read(file)?;
    Accounts::parse(text.as_str()).map_err(|problem| text.problem(problem))?;
    let mut users = users(text.as_str()).unwrap_or_default();
    let wanted = email.to_lowercase();
    let index = users
        .iter()
        .position(|user| user.email.to_lowercase() == wanted)
        .ok_or_else(|| AccountsError::Unknown(email.to_owned()))?;
    let by_hand = UserFileProblem::Form(email.to_owned());
    let Some(place) = place(text.as_str(), index) else {
        return Err(text.problem(by_hand));
    };
    let user = users.remove(index);
    let id = user.id.to_string();
    match edit {
        Edit::Remove => text.replace_range(place.lines, ""),
        Edit::Hash(hash) => {
            text.replace_range(place.hash, &format!("\"{hash}\""));
            users.insert(index, UserBlock { hash, ..user });
        }
    }
    // If the user is not in a block of its own, its lines may contain other users.
    if self::users(text.as_str()) != Some(users) {
        return Err(text.problem(by_hand));
    }
    text.write()?;
    Ok(id)
}

/// The users in a text; `None` if it is not valid.
fn users(text: &str) -> Option<Vec<UserBlock>> {
    let file = toml::from_str::<UserFile>(text).ok()?;
    Some(file.users)
}

/// Finds the account with this index.
fn place(text: &str, index: usize) -> Option<Place> {
    let table = DeTable::parse(text).ok()?;
    let DeValue::Array(users) = table.get_ref().get("users")?.get_ref() else {
        return None;
    };
    let user = users.get(index)?;
    let fields = user.get_ref().as_table()?;
    let end = fields.iter().map(|(_, field)| field.span().end).max()?;
    let start = text
        .get(..user.span().start)?
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let rest = text.get(end..)?;
    let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
    let following = rest.get(line_end..)?;
    let blank = following.len() - following.trim_start_matches(['\r', '\n']).len();
    Some(Place {
        lines: start..end + line_end + blank,
        hash: fields.get("hash")?.span(),
    })
}
