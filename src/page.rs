//! A page that stands in the binary: one answer with everything in it, and a policy under which the
//! browser runs that and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use sha2::{Digest as _, Sha256};

/// What all pages look like.
pub(crate) const STYLE: &str = include_str!("page/style.css");
/// What all pages' scripts use.
pub(crate) const SCRIPT: &str = include_str!("page/dom.js");

const STYLE_MARK: &str = "<!-- style -->";
const SCRIPT_MARK: &str = "<!-- script -->";

/// A page with its response headers.
#[derive(Debug)]
pub(crate) struct Page {
    html: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// Puts style and script where the page has its marks for them.
    pub(crate) fn new(html: &str, style: &[&str], script: &[&str]) -> Self {
        let (style, script) = (style.concat(), script.concat());
        let html = html
            .replace(STYLE_MARK, &format!("<style>{style}</style>"))
            // A module: strict, and after the page is parsed.
            .replace(
                SCRIPT_MARK,
                &format!("<script type=\"module\">{script}</script>"),
            );
        Self {
            html: html.into(),
            policy: policy(&style, &script),
        }
    }

    /// The answer; hyper leaves the body away where HEAD asked.
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.html.clone()));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// This style, this script, this origin; and no text becomes markup (trusted types).
fn policy(style: &str, script: &str) -> HeaderValue {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
        hash(script),
        hash(style)
    );
    // Letters, digits and punctuation of ASCII always make a value; without one nothing would run.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// A text as an attribute's value in double quotes.
pub(crate) fn attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_what_stands_in_the_page() {
        let page = Page::new("<p><!-- style --><!-- script -->", &["a", "b"], &["c", "d"]);
        assert_eq!(
            page.html,
            "<p><style>ab</style><script type=\"module\">cd</script>"
        );
        // printf ab | openssl dgst -sha256 -binary | base64; the same of cd
        let policy = page.policy.to_str().unwrap();
        assert!(
            policy.contains("style-src 'sha256-+44g/C5MPySMYMOb1lLzwTRymLuXe4tNWQO4UFViBgM='"),
            "{policy}"
        );
        assert!(
            policy.contains("script-src 'sha256-Iechw1pYI/20UvovnwphLHT7lS4GknSJxrJ6Q7gXvtQ='"),
            "{policy}"
        );
    }

    #[test]
    fn an_attribute_ends_at_its_quote() {
        assert_eq!(attribute("/a\"><b&"), "/a&quot;>&lt;b&amp;");
    }
}
