//! `[login]`: the built-in login.

use std::time::Duration;

use super::checks::at_least;
use super::input_file::InputFile;
use super::section::section;

section! {
    /// `[login]`: the built-in login.
    pub struct Login {
        /// The user file; `idlewild user add --file users.toml --email …` adds a user.
        pub users_file: Option<InputFile> = None;
        /// Lifetime of the tokens that the login issues.
        pub token_ttl: Duration = Duration::from_secs(15 * 60),
            check at_least(Duration::from_secs(1));
    }
}
