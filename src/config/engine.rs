//! `[engine]`: where events come from and are kept. Only the first of these engines is there yet.

use std::fmt;
use std::str::FromStr;

use super::choice::choice;
use super::secret::REDACTED;
use super::section::section;
use super::setting::text_setting;

section! {
    /// `[engine]`: where events come from and are kept.
    pub struct Engine {
        /// The only one in this version: events are kept by this process.
        pub kind: EngineKind = EngineKind::Memory, check is_there;
        /// Where Redis is (not in this version).
        pub url: EngineUrl = EngineUrl("redis://127.0.0.1:6379/0".into());
        /// Prefix of the keys in Redis (not in this version).
        pub prefix: String = "idlewild:".to_owned();
    }
}

choice! {
    /// Which engine keeps the events.
    pub enum EngineKind {
        /// This process.
        Memory = "memory",
        /// A Redis stream.
        Redis = "redis",
    }
}

/// What the contract has and this version has not is rejected: to ignore it would be a lie.
#[allow(clippy::trivially_copy_pass_by_ref)] // as all checks get their value
fn is_there(kind: &EngineKind) -> Result<(), String> {
    match kind {
        EngineKind::Memory => Ok(()),
        EngineKind::Redis => {
            Err("\"redis\" is not part of this version; use \"memory\", one node".to_owned())
        }
    }
}

/// Where an engine is. What stands before the host is not shown: it may be a password.
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
        // The last `@`, wherever it is: a password with a raw `/` must not slip through.
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
