//! A user file with one account. Its password costs little to check, because many nodes and clients share the machine.

use std::fs;
use std::path::PathBuf;

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use tempfile::TempDir;

pub const USER: &str = "ann";
pub const EMAIL: &str = "ann@example.com";
pub const PASSWORD: &str = "correct horse";

pub struct UserFile {
    directory: TempDir,
}

impl UserFile {
    pub fn new() -> Self {
        let lowest = Params::new(Params::MIN_M_COST, Params::MIN_T_COST, 1, None).unwrap();
        let salt = SaltString::encode_b64(b"always this salt").unwrap();
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, lowest)
            .hash_password(PASSWORD.as_bytes(), &salt)
            .unwrap();
        let file = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let account =
            format!("[[users]]\nid = \"{USER}\"\nemail = \"{EMAIL}\"\nhash = \"{hash}\"\n");
        fs::write(file.path(), account).unwrap();
        file
    }

    /// The line of the configuration that names it.
    pub fn setting(&self) -> String {
        format!("login.users_file = \"{}\"", self.path().display())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("users.toml")
    }
}
