//! Reads the file: its values, each with its line.
//!
//! A value without quotes is the most frequent mistake, and affects only its own line. So the other lines are still
//! read, and all errors are reported together. After any other syntax error, the lines that follow may mean something
//! else, and only syntax errors are reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::error::{ConfigError, ConfigErrors};
use super::keys;
use super::section::ConfigKey;
use super::setting::Form;

/// The values of a file, and its lines that have none.
#[derive(Default)]
pub(super) struct FileContent {
    pub(super) entries: Vec<FileEntry>,
    /// Dotted names whose value is not TOML, each with its error.
    pub(super) flawed: Vec<(String, ConfigError)>,
}

/// A name with its value, at the top of the file or in a section.
pub(super) struct FileEntry {
    pub(super) section: Option<String>,
    pub(super) name: String,
    pub(super) value: Value,
    /// The file and the line.
    pub(super) origin: String,
    /// The same for what is inside of the value, by the rest of its path: `[1]`, `[0].hash`.
    pub(super) inner_origins: Vec<(String, String)>,
}

/// Reads the file.
///
/// # Errors
/// The file cannot be read or is not TOML. Without its values, further errors would be meaningless.
pub(super) fn read(path: &Path) -> Result<FileContent, ConfigErrors> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut reader = Reader {
        path,
        text: &text,
        unquoted: BTreeMap::new(),
        content: FileContent::default(),
    };
    // The first error of a line; those that follow are its consequences.
    let mut by_line = BTreeMap::new();
    for error in &errors {
        let line = reader.line(error.span().map_or(0, |span| span.start));
        by_line.entry(line).or_insert(error);
    }
    let mut other = Vec::new();
    for (line, error) in by_line {
        match unquoted(text.lines().nth(line - 1).unwrap_or_default()) {
            Some(value) => {
                reader.unquoted.insert(line, (value, error.message()));
            }
            None => other.push(ConfigError::syntax(path.to_owned(), line, error.message())),
        }
    }
    if !other.is_empty() {
        return Err(other.into());
    }
    for (name, value) in table.into_inner() {
        let start = name.span().start;
        let name = name.into_inner().into_owned();
        match value.get_ref() {
            DeValue::Table(_) if keys::is_section(&name) => reader.read_section(&name, value),
            _ => reader.read_value(None, name, start, value),
        }
    }
    // Such a line may have another error, such as a key that is there twice, or be inside of a value.
    for (line, (_, message)) in reader.unquoted {
        other.push(ConfigError::syntax(path.to_owned(), line, message));
    }
    if other.is_empty() {
        Ok(reader.content)
    } else {
        Err(other.into())
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// Lines whose values seem to need quotes and were not read yet: the values, and the parser's messages.
    unquoted: BTreeMap<usize, (&'a str, &'a str)>,
    content: FileContent,
}

impl Reader<'_> {
    fn read_section(&mut self, section: &str, value: Spanned<DeValue<'_>>) {
        let DeValue::Table(table) = value.into_inner() else {
            return;
        };
        for (name, value) in table {
            let start = name.span().start;
            self.read_value(Some(section), name.into_inner().into_owned(), start, value);
        }
    }

    fn read_value(
        &mut self,
        section: Option<&str>,
        name: String,
        start: usize,
        value: Spanned<DeValue<'_>>,
    ) {
        let path = match section {
            Some(section) => format!("{section}.{name}"),
            None => name.clone(),
        };
        let origin = self.origin(start);
        let flawed = |problem: &str| {
            let error = ConfigError::key(&path, problem).from(&origin);
            (path.clone(), error)
        };
        let mut inner_origins = Vec::new();
        self.note_inner(&value, "", &mut inner_origins);
        let line = self.line(start);
        let value = match (self.unquoted.remove(&line), keys::find(&path)) {
            (None, _) => Value::deserialize(ValueDeserializer::from(value))
                .map_err(|error| flawed(error.message())),
            (Some((unquoted, _)), Some(key)) => Err(flawed(&expected(key, unquoted))),
            // That the key is unknown is the error to report.
            (Some(_), None) => Ok(Value::String(String::new())),
        };
        match value {
            Ok(value) => self.content.entries.push(FileEntry {
                section: section.map(ToOwned::to_owned),
                name,
                value,
                origin,
                inner_origins,
            }),
            Err(flawed) => self.content.flawed.push(flawed),
        }
    }

    /// Notes the origins of list items and of the fields of tables.
    fn note_inner(
        &self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        origins: &mut Vec<(String, String)>,
    ) {
        let mut note = |path: String, start, value: &Spanned<DeValue<'_>>| {
            origins.push((path.clone(), self.origin(start)));
            self.note_inner(value, &path, origins);
        };
        match value.get_ref() {
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    note(format!("{path}[{index}]"), item.span().start, item);
                }
            }
            DeValue::Table(fields) => {
                for (name, field) in fields {
                    let start = name.span().start;
                    note(format!("{path}.{}", name.get_ref()), start, field);
                }
            }
            _ => {}
        }
    }

    fn origin(&self, start: usize) -> String {
        format!("{}, line {}", self.path.display(), self.line(start))
    }

    fn line(&self, start: usize) -> usize {
        line_of(self.text, start)
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// The value in a line such as `heartbeat = 30s` or `listen = [127.0.0.1:80]`, which needs quotes.
fn unquoted(line: &str) -> Option<&str> {
    let (name, value) = line.split_once('=')?;
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(is_of_name);
    let value = value.split('#').next().unwrap_or_default().trim();
    let is_bare = match items(value) {
        Some(items) => {
            items.clone().any(is_bare) && items.clone().all(|item| is_bare(item) || is_quoted(item))
        }
        None => is_bare(value),
    };
    (is_name && is_bare).then_some(value)
}

/// The items of a list that is written on one line.
fn items(value: &str) -> Option<impl Iterator<Item = &str> + Clone> {
    let inner = value.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.split(',').map(str::trim))
}

fn is_bare(value: &str) -> bool {
    !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}', ','])
}

fn is_quoted(item: &str) -> bool {
    let inner = item
        .strip_prefix('"')
        .and_then(|item| item.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains(['"', '\\']))
}

/// Says how a value without quotes is written.
fn expected(key: &ConfigKey, value: &str) -> String {
    match key.form {
        form @ (Form::Integer | Form::Float | Form::Boolean) => form
            .interpret(value)
            .err()
            .unwrap_or_else(|| format!("`{value}` is not written as TOML requires")),
        Form::List if key.is_shown => match items(value) {
            Some(items) => {
                let quoted: Vec<_> = items
                    .map(|item| format!("\"{}\"", item.trim_matches('"')))
                    .collect();
                format!("`{value}` has no quotes (write [{}])", quoted.join(", "))
            }
            None => format!("`{value}` is not a list (write [\"{value}\"])"),
        },
        Form::Text if key.is_shown => format!("`{value}` has no quotes (write \"{value}\")"),
        Form::List | Form::Text => "has no quotes (its value is not shown; write \"…\")".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_without_quotes_leaves_the_other_lines_alone() {
        for (line, value) in [
            ("heartbeat = 30s", "30s"),
            ("  auth.secret=abc # a comment", "abc"),
            ("listen = 127.0.0.1:8000", "127.0.0.1:8000"),
            ("listen = [127.0.0.1:80]", "[127.0.0.1:80]"),
            (
                "listen = [\"unix:a\", 127.0.0.1:80] # both",
                "[\"unix:a\", 127.0.0.1:80]",
            ),
        ] {
            assert_eq!(unquoted(line), Some(value), "{line}");
        }
        for line in [
            "heartbeat 30s",
            "heartbeat =",
            "[auth",
            "secret = \"abc",
            "listen = [\"a\"",
            "listen = [127.0.0.1:80",
            "listen = [\"a\" \"b\", c]",
            "listen = [[a], b]",
            "listen = [a, , b]",
            "a b = c",
        ] {
            assert_eq!(unquoted(line), None, "{line}");
        }
    }
}
