//! All keys by their dotted names: `heartbeat`, `auth.secret`.

use super::root::Config;
use super::section::{ConfigKey, Section};

/// The names of all keys, in file order.
pub(super) fn names() -> Vec<String> {
    let own = Config::KEYS.iter().map(|key| key.name.to_owned());
    let inner = Config::SECTIONS.iter().flat_map(|(section, keys)| {
        keys.iter()
            .map(move |key| format!("{section}.{}", key.name))
    });
    own.chain(inner).collect()
}

/// Finds a key by its dotted name.
pub(super) fn find(name: &str) -> Option<&'static ConfigKey> {
    let (keys, name) = match name.split_once('.') {
        Some((section, name)) => (section_keys(section)?, name),
        None => (Config::KEYS, name),
    };
    keys.iter().find(|key| key.name == name)
}

/// Returns true if there is a section of this name.
pub(super) fn is_section(name: &str) -> bool {
    section_keys(name).is_some()
}

fn section_keys(name: &str) -> Option<&'static [ConfigKey]> {
    let found = Config::SECTIONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, keys)| *keys)
}

/// The keys that are also flags of `idlewild serve`. All are at the top of the file.
pub(crate) fn flags() -> impl Iterator<Item = &'static ConfigKey> {
    Config::KEYS.iter().filter(|key| key.flag.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_at_the_top_of_the_file_are_flags() {
        for (section, keys) in Config::SECTIONS {
            for key in *keys {
                assert_eq!(key.flag, None, "{section}.{}", key.name);
            }
        }
    }
}
