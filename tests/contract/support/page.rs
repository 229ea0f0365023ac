//! Checks for every page that the server contains.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Answer;

/// The highest size of a page: it should load fast, and it is part of the binary.
const MAX_PAGE_BYTES: usize = 60_000;

/// Checks that the policy of a page allows its own contents and nothing else.
#[track_caller]
pub fn assert_self_contained(page: &Answer) {
    assert_self_contained_except(page, "");
}

/// The same for a page that may also connect to `origin`.
#[track_caller]
pub fn assert_self_contained_except(page: &Answer, origin: &str) {
    assert_eq!(page.status, 200, "{}", page.head);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let html = &page.body;
    assert!(html.len() < MAX_PAGE_BYTES, "{} bytes", html.len());
    let hash = |tag: &str| {
        let inside = between(html, &format!("<{tag}"), &format!("</{tag}>"));
        let (_, text) = inside.split_once('>').unwrap();
        assert!(text.len() > 500, "{tag}: {text}");
        STANDARD.encode(Sha256::digest(text))
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src {}; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
        hash("script"),
        hash("style"),
        ["'self'", origin].join(" ").trim_end()
    );
    let header = page.header("content-security-policy").unwrap();
    assert_eq!(header, policy);
    // Contents that the policy would block, or would not notice.
    for forbidden in [
        "http://",
        "https://",
        " style=\"",
        " onclick=",
        " src=",
        "innerHTML",
        "localStorage",
        "@import",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
}

/// The text between two markers, each of which occurs once.
#[track_caller]
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    assert_eq!(text.matches(start).count(), 1, "{start}");
    assert_eq!(text.matches(end).count(), 1, "{end}");
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}
