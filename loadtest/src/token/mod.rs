//! The tokens clients sign in with: minted from the server's secret, or read from a file.

mod list;
mod mint;

use std::sync::Arc;

pub(crate) use list::List;
pub(crate) use mint::Minter;

/// A token for every connection, by its number.
#[derive(Clone, Debug)]
pub(crate) enum Tokens {
    /// Signed when its connection opens.
    Minted(Minter),
    /// Lines of a file, in turn.
    Listed(Arc<List>),
}

impl Tokens {
    /// Adds the token of this connection to `text`.
    pub(crate) fn write(&self, connection: u32, text: &mut String) {
        match self {
            Self::Minted(minter) => text.push_str(&minter.mint(connection)),
            Self::Listed(list) => text.push_str(list.token(connection)),
        }
    }

    /// The user a connection signs in as; `None` where the file does not say.
    pub(crate) fn user(&self, connection: u32) -> Option<String> {
        match self {
            Self::Minted(minter) => Some(minter.user(connection).to_string()),
            Self::Listed(list) => list.user(connection).map(str::to_owned),
        }
    }

    /// Whether a connection signs in as `user`.
    pub(crate) fn is_user(&self, connection: u32, user: &str) -> bool {
        match self {
            Self::Minted(minter) => user.parse() == Ok(minter.user(connection)),
            Self::Listed(list) => list.user(connection) == Some(user),
        }
    }
}
