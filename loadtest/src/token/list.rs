//! Reads tokens from a file: one per line, followed by white space and its user if events go to single users.
//! Empty lines and lines that start with `#` are skipped.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Size limit of a token file, which is read whole.
const MAX_FILE_BYTES: u64 = 1024 * 1024 * 1024;

/// The lines of a token file.
#[derive(Debug)]
pub(crate) struct List {
    text: String,
    lines: Vec<Line>,
}

/// The positions of a token and its user in the text.
#[derive(Debug)]
struct Line {
    token: (usize, usize),
    user: Option<(usize, usize)>,
}

impl List {
    /// Reads a file. An error names the invalid line.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let bytes = std::fs::metadata(path).with_context(name)?.len();
        ensure!(
            bytes <= MAX_FILE_BYTES,
            "{}: {bytes} bytes; the limit for a file of tokens is {MAX_FILE_BYTES}",
            path.display()
        );
        Self::parse(std::fs::read_to_string(path).with_context(name)?).with_context(name)
    }

    fn parse(text: String) -> Result<Self> {
        let mut lines = Vec::new();
        let mut users = HashSet::new();
        let start = text.as_ptr() as usize;
        let place = |part: &str| {
            let from = part.as_ptr() as usize - start;
            (from, from + part.len())
        };
        for (number, line) in (1..).zip(text.lines()) {
            let mut words = line.split_ascii_whitespace();
            let Some(token) = words.next().filter(|word| !word.starts_with('#')) else {
                continue;
            };
            ensure!(
                token.bytes().all(is_token_byte),
                "line {number}: a token may contain only letters, digits and -._~+/="
            );
            let user = words.next();
            // The lines determine how many clients an event for a user should reach.
            ensure!(
                user.is_none_or(|user| users.insert(user)),
                "line {number}: this user already has a line; connections share it in turn"
            );
            let user = user.map(place);
            ensure!(
                words.next().is_none(),
                "line {number}: expected a token and, optionally, its user"
            );
            lines.push(Line {
                token: place(token),
                user,
            });
        }
        ensure!(!lines.is_empty(), "contains no token");
        ensure!(u32::try_from(lines.len()).is_ok(), "too many tokens");
        Ok(Self { text, lines })
    }

    /// The token of this connection. Further connections use the lines again in turn.
    pub(super) fn token(&self, connection: u32) -> &str {
        let (from, to) = self.line(connection).token;
        &self.text[from..to]
    }

    pub(super) fn user(&self, connection: u32) -> Option<&str> {
        let (from, to) = self.line(connection).user?;
        Some(&self.text[from..to])
    }

    /// The number of tokens.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.lines.len()).expect("checked when it was read")
    }

    fn line(&self, connection: u32) -> &Line {
        &self.lines[(connection % self.len()) as usize]
    }
}

/// The characters of a bearer token by RFC 6750, section 2.1; none of them ends a header or a query.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_used_in_turn_with_their_users() {
        let list = List::parse("# ours\naa.b.c 17\n\n  dd.e.f\tx@y\ngg\n".to_owned()).unwrap();
        let tokens: Vec<_> = (0..4).map(|number| list.token(number)).collect();
        assert_eq!(tokens, ["aa.b.c", "dd.e.f", "gg", "aa.b.c"]);
        let users: Vec<_> = (0..3).map(|number| list.user(number)).collect();
        assert_eq!(users, [Some("17"), Some("x@y"), None]);
    }

    #[test]
    fn a_line_that_is_not_a_token_is_named() {
        for (text, reason) in [
            ("a\nb\u{e9}c\n", "line 2"),
            ("a b c", "line 1"),
            ("a 17\nb 17", "line 2"),
            ("a\"b", "line 1"),
            ("# only words\n", "no token"),
        ] {
            let refused = List::parse(text.to_owned()).unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
