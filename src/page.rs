//! An HTML page in the binary: one response that contains everything, with a policy that lets the browser
//! run nothing else.

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

/// The style shared by all pages.
pub(crate) const STYLE: &str = include_str!("page/style.css");
/// The script shared by all pages.
pub(crate) const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/sse.js"),
    include_str!("page/payload.js")
);

const STYLE_MARK: &str = "<!-- style -->";
const SCRIPT_MARK: &str = "<!-- script -->";

/// A page and its response headers.
#[derive(Debug)]
pub(crate) struct Page {
    html: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// Replaces the page's marks with style and script. The page may connect to its own origin.
    pub(crate) fn new(html: &str, style: &[&str], script: &[&str]) -> Self {
        Self::connecting_to("", html, style, script)
    }

    /// The same for a page that may also connect to `origin`, a source of a content security policy.
    pub(crate) fn connecting_to(origin: &str, html: &str, style: &[&str], script: &[&str]) -> Self {
        let (style, script) = (style.concat(), script.concat());
        let html = html
            .replace(STYLE_MARK, &format!("<style>{style}</style>"))
            // A module runs in strict mode, after the page is parsed.
            .replace(
                SCRIPT_MARK,
                &format!("<script type=\"module\">{script}</script>"),
            );
        Self {
            html: html.into(),
            policy: policy(&style, &script, origin),
        }
    }

    /// The response; hyper omits the body for HEAD.
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

/// Allows this style, this script, the page's own origin and `origin`. Text cannot become markup (trusted
/// types).
fn policy(style: &str, script: &str, origin: &str) -> HeaderValue {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src {}; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
        hash(script),
        hash(style),
        format!("'self' {origin}").trim_end()
    );
    // ASCII letters, digits and punctuation always form a header value. The fallback allows nothing.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Escapes a text for an attribute's value in double quotes.
pub(crate) fn attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_the_pages_style_and_script() {
        let page = Page::new("<p><!-- style --><!-- script -->", &["a", "b"], &["c", "d"]);
        assert_eq!(
            page.html,
            "<p><style>ab</style><script type=\"module\">cd</script>"
        );
        // printf ab | openssl dgst -sha256 -binary | base64; likewise for cd
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
    fn attributes_are_escaped() {
        assert_eq!(attribute("/a\"><b&"), "/a&quot;>&lt;b&amp;");
    }
}
