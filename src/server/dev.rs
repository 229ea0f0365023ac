//! Development mode (`--dev`).

/// The options of development mode, which also serves the demo page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dev {
    /// Whether the user with the well-known password can log in. Only if `--dev` generated the secret:
    /// with the application's own secret, that password would give access to the application.
    pub has_user: bool,
    /// Whether other machines may connect.
    pub anywhere: bool,
}
