//! The API key and the JWT secret of `serve --dev`. They are kept in a directory beside the project, so that scripts,
//! and tokens in browsers, remain valid when the server is started again.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use rustix::fs::OFlags;

use crate::auth::api_key;
use crate::config::DevSecrets;

/// The directory, in the current one.
pub(super) const DIRECTORY: &str = ".idlewild-dev";
/// The file with the API key, for `publish --api-key-file`.
const API_KEY: &str = "api-key";
/// The file with the secret that tokens are signed with.
const JWT_SECRET: &str = "jwt-secret";

/// Only this user may read the directory and its files.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// New secrets, which nothing keeps.
pub(super) fn made_up() -> DevSecrets {
    DevSecrets {
        auth_secret: api_key::generate(),
        api_key: api_key::generate(),
    }
}

/// The secrets in `directory`; the first call makes them.
///
/// # Errors
/// The directory cannot be used, or belongs to another user, who would know the secrets.
pub(super) fn kept_in(directory: &Path) -> io::Result<DevSecrets> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // A link could lead to a directory of another user.
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("is not a directory of this user"));
    }
    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?;
    ignore(&directory.join(".gitignore"))?;
    Ok(DevSecrets {
        auth_secret: kept(&directory.join(JWT_SECRET))?,
        api_key: kept(&directory.join(API_KEY))?,
    })
}

/// Keeps the directory out of repositories.
fn ignore(path: &Path) -> io::Result<()> {
    // A link that is there already is not followed.
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The secret in a file. If there is none, a new one is written.
fn kept(path: &Path) -> io::Result<String> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    // A repository can contain such a directory. Then its author knows the secrets; git gives others read access.
    let found = file.metadata()?;
    if !found.is_file() || found.mode() & 0o077 != 0 {
        let name = path.file_name().unwrap_or_default().display();
        return Err(io::Error::other(format!(
            "{name} is not a file that only this user can read; remove it"
        )));
    }
    // Of two servers that start at once, one writes the secret and the other reads it.
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let text = text.trim();
    if !text.is_empty() {
        return Ok(text.to_owned());
    }
    let secret = api_key::generate();
    file.write_all(format!("{secret}\n").as_bytes())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_the_same_and_only_their_user_can_read_them() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join(DIRECTORY);
        let first = kept_in(&directory).unwrap();
        assert_ne!(first.auth_secret, first.api_key);
        // Another program has opened it up.
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let second = kept_in(&directory).unwrap();
        assert_eq!(
            (&first.auth_secret, &first.api_key),
            (&second.auth_secret, &second.api_key)
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&directory), DIRECTORY_MODE);
        for name in [API_KEY, JWT_SECRET] {
            assert_eq!(mode(&directory.join(name)), FILE_MODE);
        }
        let ignored = fs::read_to_string(directory.join(".gitignore")).unwrap();
        assert_eq!(ignored, "*\n");
        let other = kept_in(&parent.path().join("other")).unwrap();
        assert_ne!(other.api_key, second.api_key);
    }

    #[test]
    fn servers_that_start_at_once_share_the_secrets() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join(DIRECTORY);
        let keys = std::thread::scope(|scope| {
            let start = || scope.spawn(|| kept_in(&directory).unwrap().api_key);
            let started: Vec<_> = (0..8).map(|_| start()).collect();
            let keys = started.into_iter().map(|thread| thread.join().unwrap());
            keys.collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(keys.len(), 1, "{keys:?}");
    }

    #[test]
    fn secrets_that_others_know_are_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join(DIRECTORY);
        let first = kept_in(&directory).unwrap();
        // As git checks it out.
        let key = directory.join(API_KEY);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        assert!(kept_in(&directory).is_err());
        fs::remove_file(&key).unwrap();
        let secret = parent.path().join("another-secret");
        fs::write(&secret, "known").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(FILE_MODE)).unwrap();
        std::os::unix::fs::symlink(&secret, &key).unwrap();
        assert!(kept_in(&directory).is_err());
        fs::remove_file(&key).unwrap();
        let profile = parent.path().join("profile");
        fs::write(&profile, "text").unwrap();
        let ignored = directory.join(".gitignore");
        fs::remove_file(&ignored).unwrap();
        std::os::unix::fs::symlink(&profile, &ignored).unwrap();
        assert_ne!(kept_in(&directory).unwrap().api_key, first.api_key);
        assert_eq!(fs::read_to_string(&profile).unwrap(), "text");
    }

    #[test]
    fn a_link_or_a_file_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        assert!(kept_in(&link).is_err());
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(kept_in(&file).is_err());
    }
}
