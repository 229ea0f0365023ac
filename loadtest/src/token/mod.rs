//! The clients' tokens: signed with the server's secret, or read from a file.

mod list;
mod mint;

use std::sync::Arc;

pub(crate) use list::List;
pub(crate) use mint::Minter;

/// A token for every connection, by its number.
#[derive(Clone, Debug)]
pub(crate) enum Tokens {
    /// Signed when the connection opens.
    Minted(Minter),
    /// The lines of a file, in turn.
    Listed(Arc<List>),
}

impl Tokens {
    /// Appends the token of this connection to `text`.
    pub(crate) fn write(&self, connection: u32, text: &mut String) {
        match self {
            Self::Minted(minter) => text.push_str(&minter.mint(connection)),
            Self::Listed(list) => text.push_str(list.token(connection)),
        }
    }

    /// The user of a connection; `None` if the file does not name it.
    pub(crate) fn user(&self, connection: u32) -> Option<String> {
        match self {
            Self::Minted(minter) => Some(minter.user(connection).to_string()),
            Self::Listed(list) => list.user(connection).map(str::to_owned),
        }
    }

    /// Returns true if a connection belongs to `user`.
    pub(crate) fn is_user(&self, connection: u32, user: &str) -> bool {
        match self {
            Self::Minted(minter) => user.parse() == Ok(minter.user(connection)),
            Self::Listed(list) => list.user(connection) == Some(user),
        }
    }
}
