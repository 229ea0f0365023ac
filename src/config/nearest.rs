//! Finds the key that an unknown name most likely means.

/// The weight of a match of only the last segments, compared with one of the whole path: `secret` at the
/// top of the file means `auth.secret`.
const LAST_SEGMENT_WEIGHT: f64 = 0.95;

/// The name among `known` that is most similar to `asked`; both are dotted paths.
pub(super) fn nearest<'a>(
    asked: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .max_by(|a, b| likeness(asked, a).total_cmp(&likeness(asked, b)))
}

fn likeness(asked: &str, known: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(asked, known);
    let last = strsim::normalized_damerau_levenshtein(last_segment(asked), last_segment(known));
    whole.max(last * LAST_SEGMENT_WEIGHT)
}

fn last_segment(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_or_a_missing_section_is_understood() {
        let known = [
            "admin.api_key",
            "auth.secret",
            "heartbeat",
            "max_connections",
        ];
        for (asked, meant) in [
            ("max_conections", "max_connections"),
            ("auth_secret", "auth.secret"),
            ("auth.secrte", "auth.secret"),
            ("secret", "auth.secret"),
            ("api_kye", "admin.api_key"),
            ("hartbeat", "heartbeat"),
        ] {
            assert_eq!(nearest(asked, known), Some(meant), "{asked}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
