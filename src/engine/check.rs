//! Tries the configured engine without serving, for `idlewild check --engine`.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use super::finding::Finding;
use super::redis;
use crate::config::{Config, EngineKind};

/// Why the configured engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitEngine {
    #[error("history.path: `{0}` cannot be used: {1}")]
    History(String, io::Error),
    #[error(transparent)]
    Redis(#[from] redis::Unfit),
}

/// Tries the configured engine. Each result is added to `findings`. Nothing is changed.
///
/// # Errors
/// The first thing that keeps the engine from working.
pub(crate) async fn check(config: &Config, findings: &mut Vec<Finding>) -> Result<(), UnfitEngine> {
    match (config.engine.kind, &config.history.path) {
        (EngineKind::Redis, _) => Ok(redis::check(config, findings).await?),
        (EngineKind::Memory, None) => {
            findings.push(Finding::Good("memory, there is nothing to try".to_owned()));
            Ok(())
        }
        (EngineKind::Memory, Some(path)) => {
            directory(path)?;
            findings.push(Finding::Good(format!(
                "memory with history.path, `{}` can be used",
                path.display()
            )));
            Ok(())
        }
    }
}

/// Checks the permissions of the directory, or of its parent if it is not there yet. A running server is not disturbed.
fn directory(path: &Path) -> Result<(), UnfitEngine> {
    let existing = match path.parent() {
        _ if path.is_dir() => path,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    access(existing, needed)
        .map_err(|error| UnfitEngine::History(existing.display().to_string(), error.into()))
}
