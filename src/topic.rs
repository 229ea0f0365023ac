//! Topics, and the patterns that say which topics a client may read.
//!
//! A topic is a path of literal segments, such as `orders/eu/42`. A pattern may also have wildcards: `*`
//! matches exactly one segment, and `**` matches the rest, which may be empty. Every value of either
//! type is valid.

use std::fmt;

use compact_str::CompactString;

/// Longest topic or pattern, in bytes. Topics are in query strings, in the log's indices and in the
/// bookkeeping of every frame, so they are short names.
pub(crate) const MAX_TOPIC_BYTES: usize = 256;

/// Most topics per stream: each costs an index entry while the stream is open.
pub(crate) const MAX_TOPICS_PER_STREAM: usize = 32;

/// The name of one topic, without wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(CompactString);

impl Topic {
    /// Parses a topic: 1 to [`MAX_TOPIC_BYTES`] bytes, no empty segment, no wildcard, no control character.
    ///
    /// # Errors
    /// The first of these rules that is broken.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check(text)?;
        if text.split('/').any(|segment| matches!(segment, "*" | "**")) {
            return Err(TopicError::Wildcard);
        }
        Ok(Self(text.into()))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_compact(&self) -> &CompactString {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of topics: like a topic, but whole segments may be wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPattern(CompactString);

impl TopicPattern {
    /// Parses a pattern: like [`Topic::parse`], with `*` for any segment, and with `**` for any number of
    /// segments at the end.
    ///
    /// # Errors
    /// The first of these rules that is broken.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check(text)?;
        let mut segments = text.split('/');
        if segments.any(|segment| segment == "**") && segments.next().is_some() {
            return Err(TopicError::RestNotLast);
        }
        Ok(Self(text.into()))
    }

    /// Returns true if the pattern includes `topic`.
    pub fn matches(&self, topic: &str) -> bool {
        let mut segments = topic.split('/');
        for wanted in self.0.split('/') {
            if wanted == "**" {
                return true;
            }
            match segments.next() {
                Some(segment) if wanted == "*" || wanted == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    /// Returns true if the pattern has no wildcard, so that it includes one topic only.
    pub fn is_literal(&self) -> bool {
        !self
            .0
            .split('/')
            .any(|segment| matches!(segment, "*" | "**"))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a topic or a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No bytes.
    #[error("a topic is not empty")]
    Empty,
    /// More than [`MAX_TOPIC_BYTES`].
    #[error("a topic has at most {MAX_TOPIC_BYTES} bytes")]
    TooLong,
    /// Two slashes in a row, or one at either end.
    #[error("a topic has no empty segment: no `/` at its ends, no `//`")]
    EmptySegment,
    /// A control character.
    #[error("a topic has no control character")]
    Control,
    /// `*` or `**` in a topic.
    #[error("a topic has no wildcard segment; `*` and `**` belong into a token's patterns")]
    Wildcard,
    /// `**` before the last segment.
    #[error("`**` stands for the rest, so it is the last segment of a pattern")]
    RestNotLast,
}

/// The rules that topics and patterns share.
fn check(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong);
    }
    if text.split('/').any(str::is_empty) {
        return Err(TopicError::EmptySegment);
    }
    if text.chars().any(char::is_control) {
        return Err(TopicError::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        TopicPattern::parse(pattern).unwrap().matches(topic)
    }

    #[test]
    fn a_topic_is_a_path_of_literal_segments() {
        assert_eq!(
            Topic::parse("orders/eu/42").unwrap().as_str(),
            "orders/eu/42"
        );
        assert!(Topic::parse("grüße/日本").is_ok());
        assert_eq!(Topic::parse(""), Err(TopicError::Empty));
        assert_eq!(Topic::parse(&"a".repeat(257)), Err(TopicError::TooLong));
        assert!(Topic::parse(&"a".repeat(256)).is_ok());
        for text in ["/", "/a", "a/", "a//b"] {
            assert_eq!(Topic::parse(text), Err(TopicError::EmptySegment), "{text}");
        }
        for text in ["*", "**", "a/*", "a/**/b"] {
            assert_eq!(Topic::parse(text), Err(TopicError::Wildcard), "{text}");
        }
        for text in ["a\nb", "a\0", "a\u{7f}", "a\u{85}b"] {
            assert_eq!(Topic::parse(text), Err(TopicError::Control), "{text:?}");
        }
    }

    #[test]
    fn a_literal_pattern_matches_only_itself() {
        let pattern = TopicPattern::parse("orders/eu").unwrap();
        assert!(pattern.is_literal());
        assert!(pattern.matches("orders/eu"));
        for topic in [
            "orders",
            "orders/eu/42",
            "orders/e",
            "orders/euro",
            "Orders/eu",
        ] {
            assert!(!pattern.matches(topic), "{topic}");
        }
    }

    #[test]
    fn a_star_matches_exactly_one_segment() {
        assert!(matches("orders/*", "orders/eu"));
        assert!(matches("*/eu", "orders/eu"));
        assert!(!matches("orders/*", "orders"));
        assert!(!matches("orders/*", "orders/eu/42"));
        assert!(!matches("*", "orders/eu"));
    }

    #[test]
    fn two_stars_match_the_rest_even_if_empty() {
        for topic in ["orders", "orders/eu", "orders/eu/42"] {
            assert!(matches("orders/**", topic), "{topic}");
            assert!(matches("**", topic), "{topic}");
        }
        assert!(!matches("orders/**", "order"));
        assert!(!matches("orders/*/**", "orders"));
    }

    #[test]
    fn two_stars_are_allowed_only_at_the_end() {
        for text in ["**/a", "a/**/b", "**/**"] {
            assert_eq!(
                TopicPattern::parse(text),
                Err(TopicError::RestNotLast),
                "{text}"
            );
        }
    }

    /// The definition, without regard to cost.
    fn naive(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            (["**"], _) | ([], []) => true,
            ([wanted, pattern @ ..], [segment, topic @ ..]) => {
                (*wanted == "*" || wanted == segment) && naive(pattern, topic)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_their_definition_says(
            pattern in "(a|b|ab|\\*)(/(a|b|ab|\\*)){0,3}(/\\*\\*)?|\\*\\*",
            topic in "(a|b|ab)(/(a|b|ab)){0,4}",
        ) {
            let wanted: Vec<_> = pattern.split('/').collect();
            let segments: Vec<_> = topic.split('/').collect();
            prop_assert_eq!(matches(&pattern, &topic), naive(&wanted, &segments));
        }

        #[test]
        fn whatever_is_a_topic_is_a_literal_pattern_that_matches_it(text in "\\PC{1,20}(/\\PC{1,9}){0,3}") {
            if let Ok(topic) = Topic::parse(&text) {
                let pattern = TopicPattern::parse(&text).unwrap();
                prop_assert!(pattern.is_literal() && pattern.matches(topic.as_str()));
            }
        }
    }
}
