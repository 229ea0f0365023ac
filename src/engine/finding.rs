//! What a check of an engine has found out.

/// A result of the check, in one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is as it should be.
    Good(String),
    /// The engine works, but not as one may expect.
    Doubt(String),
}
