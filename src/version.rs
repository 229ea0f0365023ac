//! The version of this build, and the commit that it was built from.

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, which scripts/release and the Dockerfile pass on. Other builds have none: a build script that asks git
/// would compile everything again after each commit, and a source archive has no git.
const COMMIT: Option<&str> = option_env!("BUILD_COMMIT");

/// The commit, or `unknown`.
pub(crate) fn commit() -> &'static str {
    known(COMMIT).unwrap_or("unknown")
}

/// The version, with the commit if it is known.
pub(crate) fn full() -> String {
    with_commit(COMMIT)
}

/// An empty variable is the default of a build argument that was not given.
fn known(commit: Option<&str>) -> Option<&str> {
    commit.filter(|commit| !commit.is_empty())
}

fn with_commit(commit: Option<&str>) -> String {
    match known(commit) {
        Some(commit) => format!("{VERSION} ({commit})"),
        None => VERSION.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_shown_if_it_is_known() {
        assert_eq!(with_commit(Some("3c9e90c")), format!("{VERSION} (3c9e90c)"));
        assert_eq!(with_commit(Some("")), VERSION);
        assert_eq!(with_commit(None), VERSION);
    }
}
