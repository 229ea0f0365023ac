//! Reads files up to a limit, and writes files atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::sys;

/// The text of a regular file of at most `max_bytes`. Pipes and devices are refused: they may never end.
pub(crate) fn read_bounded(path: &Path, max_bytes: u64) -> Result<String> {
    ensure!(fs::metadata(path)?.is_file(), "not a regular file");
    let mut text = String::new();
    File::open(path)?
        .take(max_bytes + 1)
        .read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= max_bytes,
        "larger than {} MiB",
        max_bytes >> 20
    );
    Ok(text)
}

/// Writes a temporary file and renames it, so that readers never see a part of it.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let Some(name) = path.file_name() else {
        bail!("{}: not the name of a file", path.display())
    };
    // Renaming would replace a device or a link.
    if let Ok(there) = fs::symlink_metadata(path) {
        ensure!(
            there.is_file(),
            "{}: exists and is not a regular file; choose another name",
            path.display()
        );
    }
    let mut draft = name.to_owned();
    draft.push(format!(".{}.part", sys::hex(&sys::random::<8>())));
    let draft = path.with_file_name(draft);
    let written = fill(&draft, text).and_then(|()| fs::rename(&draft, path));
    written
        .inspect_err(|_| drop(fs::remove_file(&draft))) // the first error is the one to report
        .with_context(|| path.display().to_string())
}

fn fill(draft: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A temporary directory for one test.
    #[derive(Debug)]
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            let name = format!("idlewild-load-test-{}", sys::hex(&sys::random::<8>()));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// Writes a file in it, and creates the directories on the way.
        pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0); // a temporary directory at worst
        }
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_no_temporary_file() {
        let scratch = Scratch::new();
        let path = scratch.put("page.html", "old");
        write_whole(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn only_regular_files_are_replaced_or_read() {
        let scratch = Scratch::new();
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let error = write_whole(&link, "text").unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        assert!(read_bounded(&link, 1).is_err() && read_bounded(&scratch.0, 1).is_err());
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let scratch = Scratch::new();
        let path = scratch.put("big", "12345");
        assert_eq!(read_bounded(&path, 5).unwrap(), "12345");
        assert!(read_bounded(&path, 4).is_err());
    }
}
