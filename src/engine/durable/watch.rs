//! Notices files that were deleted or replaced while the server runs. What is written to such a file is in no
//! directory, and lost when the process ends.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files, each with its identity when all of them were in place.
#[derive(Debug, Default)]
pub(super) struct Watch(Vec<(PathBuf, Identity)>);

/// Device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Watch {
    /// Watches these files as they are now.
    pub(super) fn new(files: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let watched = files.into_iter().map(|path| {
            let identity = identity(&path)?;
            Ok((path, identity))
        });
        Ok(Self(watched.collect::<io::Result<_>>()?))
    }

    /// The first file that was deleted or replaced.
    pub(super) fn missing(&self) -> Option<&Path> {
        let missing = |(path, was): &&(PathBuf, Identity)| {
            // Other errors of `stat` say nothing about the file.
            match identity(path) {
                Ok(now) => now != *was,
                Err(error) => matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ),
            }
        };
        self.0.iter().find(missing).map(|(path, _)| path.as_path())
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    // By path: opening and closing the database's file would drop SQLite's locks on it.
    let file = path.symlink_metadata()?;
    Ok(Identity(file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_is_deleted_or_replaced_is_noticed_and_one_that_is_back_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "a").unwrap();
        let watch = Watch::new([path.clone()]).unwrap();
        fs::write(&path, "longer").unwrap();
        assert_eq!(watch.missing(), None);
        let aside = directory.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        assert_eq!(watch.missing(), Some(path.as_path()));
        fs::write(&path, "longer").unwrap();
        assert_eq!(watch.missing(), Some(path.as_path()));
        fs::rename(&aside, &path).unwrap();
        assert_eq!(watch.missing(), None);
    }
}
