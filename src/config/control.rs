//! The path of the control socket.

use std::path::{Path, PathBuf};

use super::endpoint::UNIX_PATH_MAX_BYTES;

/// The path if none is configured, provided that its directory exists.
const DEFAULT_PATH: &str = "/run/idlewild/control.sock";

/// Longest ending of the socket's temporary name: a dot and a process id, at most 4194304 (`PID_MAX_LIMIT`).
const ENDING_MAX_BYTES: usize = 8;

/// Longest path: under its temporary name, it is still the path of a unix socket.
const PATH_MAX_BYTES: usize = UNIX_PATH_MAX_BYTES - ENDING_MAX_BYTES;

/// The path of the control socket: the configured one, or the default if its directory exists.
pub(crate) fn control_path(configured: Option<&Path>) -> Option<PathBuf> {
    let default = Some(Path::new(DEFAULT_PATH)).filter(|path| in_directory(path));
    configured.or(default).map(Path::to_owned)
}

/// The server and `idlewild upgrade` may run in different directories, so the path is absolute.
#[allow(clippy::ref_option)] // as all checks get their value
pub(super) fn socket_path(path: &Option<PathBuf>) -> Result<(), String> {
    let Some(path) = path else {
        return Ok(());
    };
    let (shown, bytes) = (path.display(), path.as_os_str().len());
    if !path.is_absolute() {
        return Err(format!(
            "`{shown}` does not begin with / (write e.g. {DEFAULT_PATH})"
        ));
    }
    if bytes > PATH_MAX_BYTES {
        return Err(format!(
            "`{shown}` has {bytes} bytes, at most {PATH_MAX_BYTES} are possible (choose a shorter path)"
        ));
    }
    if !in_directory(path) {
        return Err(format!(
            "`{shown}` is not in a directory that exists (mkdir -p it)"
        ));
    }
    Ok(())
}

fn in_directory(path: &Path) -> bool {
    path.parent().is_some_and(Path::is_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_cannot_be_bound_is_rejected_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let check = |path: &str| socket_path(&Some(directory.path().join(path)));
        let longest = PATH_MAX_BYTES - directory.path().as_os_str().len() - 1;
        assert_eq!(check(&"x".repeat(longest)), Ok(()));
        for (checked, reason) in [
            (check(&"x".repeat(longest + 1)), "100 bytes, at most 99"),
            (check("missing/control.sock"), "is not in a directory"),
            (
                socket_path(&Some("control.sock".into())),
                "does not begin with /",
            ),
            (socket_path(&Some("/".into())), "is not in a directory"),
        ] {
            let error = checked.unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(socket_path(&None), Ok(()));
    }

    #[test]
    fn a_configured_path_replaces_the_default() {
        let control = Path::new("/somewhere/control.sock");
        assert_eq!(control_path(Some(control)).as_deref(), Some(control));
    }
}
