//! What `--dev` brings.

/// What `--dev` brings: the demo page, and more as its fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dev {
    /// The user with the well-known password. Only where tokens are signed with a secret that
    /// `--dev` made up: with the application's own, that password would open the application.
    pub has_user: bool,
    /// Whether other machines may reach it.
    pub anywhere: bool,
}
