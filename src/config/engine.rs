//! `[engine]`: where events are stored. Only the memory engine exists in this version.

use std::fmt;
use std::str::FromStr;

use super::choice::choice;
use super::secret::REDACTED;
use super::section::section;
use super::setting::text_setting;

section! {
    /// `[engine]`: where events are stored.
    pub struct Engine {
        /// The only engine in this version; this process stores the events.
        pub kind: EngineKind = EngineKind::Memory, check is_there;
        /// URL of Redis (not in this version).
        pub url: EngineUrl = EngineUrl("redis://127.0.0.1:6379/0".into());
        /// Prefix of the keys in Redis (not in this version).
        pub prefix: String = "idlewild:".to_owned();
    }
}

choice! {
    /// The engine that stores events.
    pub enum EngineKind {
        /// This process.
        Memory = "memory",
        /// A Redis stream.
        Redis = "redis",
    }
}

/// Rejects what the contract has but this version does not support, rather than ignoring it.
#[allow(clippy::trivially_copy_pass_by_ref)] // as all checks get their value
fn is_there(kind: &EngineKind) -> Result<(), String> {
    match kind {
        EngineKind::Memory => Ok(()),
        EngineKind::Redis => {
            Err("\"redis\" is not part of this version; use \"memory\", one node".to_owned())
        }
    }
}

/// The URL of an engine. The part before the host is not shown, since it may contain a password.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl(Box<str>);

impl FromStr for EngineUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Splits at the last `@` anywhere, so that a password with a raw `/` is hidden as well.
        let shown = self.0.split_once("://").and_then(|(scheme, rest)| {
            let (_, host) = rest.rsplit_once('@')?;
            Some(format!("{scheme}://{REDACTED}@{host}"))
        });
        f.write_str(shown.as_deref().unwrap_or(&self.0))
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_setting!(EngineUrl);
