//! URLs of other servers, validated once: `auth.jwks` and `auth.session_auth_url`.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

use super::input_file::InputFile;
use super::setting::text_setting;

/// A valid http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// The URL as a type of the HTTP client.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// `example` is shown in the error.
    fn parse(text: &str, example: &str) -> Result<Self, String> {
        // Hides the query, which may contain a secret, and anything before an `@`, which may be a password.
        let (place, _) = text.split_once('?').unwrap_or((text, ""));
        let shown = match place.rsplit_once('@') {
            Some((_, host)) => format!("…@{host}"),
            None => place.to_owned(),
        };
        let rejected = |problem: &str| Err(format!("`{shown}` {problem} ({example})"));
        if !is_http(text) {
            return rejected("starts with neither http:// nor https://");
        }
        if text.contains('#') {
            return rejected("has a fragment, which is never sent");
        }
        let Ok(url) = text.parse::<Uri>() else {
            return rejected("is not a URL");
        };
        let authority = url.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return rejected("holds a user name or a password, which are not sent");
        }
        if url.host().is_none_or(str::is_empty) {
            return rejected("names no host");
        }
        // A colon after the host and outside of brackets precedes a port.
        let has_port = authority
            .rsplit_once(']')
            .map_or(authority, |(_, rest)| rest)
            .contains(':');
        if has_port && url.port_u16().is_none_or(|port| port == 0) {
            return rejected("has an invalid port");
        }
        Ok(Self(url))
    }
}

fn is_http(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, "http://127.0.0.1:8080/api/v1/auth/session/")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The location of a JSON Web Key Set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwks {
    /// A file, which has been read.
    File(InputFile),
    /// A URL, which is fetched regularly.
    Url(Url),
}

impl FromStr for Jwks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_http(text) {
            Url::parse(text, "https://id.example.com/.well-known/jwks.json").map(Self::Url)
        } else {
            text.parse().map(Self::File)
        }
    }
}

impl fmt::Display for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

text_setting!(Url, Jwks);

#[cfg(test)]
mod tests {
    use super::*;

    fn session(url: &str) -> Result<Uri, String> {
        url.parse::<Url>().map(|url| url.0)
    }

    fn jwks(jwks: &str) -> Result<String, String> {
        jwks.parse::<Jwks>().map(|jwks| match jwks {
            Jwks::Url(url) => url.to_string(),
            Jwks::File(file) => panic!("{file} is a file"),
        })
    }

    #[test]
    fn urls_are_used_as_written() {
        for url in [
            "http://django:8000/session/",
            "https://id.example.com/jwks.json?p=policy",
            "http://[::1]:8080/",
            "https://[::1]/a@b",
        ] {
            assert_eq!(session(url).unwrap().to_string(), url);
            assert_eq!(jwks(url).unwrap(), url);
        }
        let upper = session("HTTPS://id.example.com").unwrap();
        assert_eq!(upper.scheme_str(), Some("https"));
    }

    #[test]
    fn a_key_set_without_an_http_url_is_a_file() {
        for file in ["jwks.json", "/nowhere/jwks.json", "http:/a", "file:///a"] {
            let error = jwks(file).unwrap_err();
            assert!(error.contains("cannot be read"), "{file}: {error}");
        }
    }

    #[test]
    fn an_invalid_url_is_rejected_without_showing_a_secret() {
        for (url, problem) in [
            ("django:8000/session/", "starts with neither"),
            ("ftp://django/", "starts with neither"),
            ("unix:/run/django.sock", "starts with neither"),
            ("http://", "is not a URL"),
            ("http:///session/", "is not a URL"),
            ("http://:8000/", "names no host"),
            ("http://a b/", "is not a URL"),
            ("http://django:0/", "an invalid port"),
            ("http://django:/", "an invalid port"),
            ("http://django:99999/", "an invalid port"),
            ("http://me:hunter2@django/", "holds a user name"),
            ("http://django/#top", "has a fragment"),
            ("http://django/\n?key=hunter2#x", "has a fragment"),
        ] {
            let error = session(url).unwrap_err();
            assert!(error.contains(problem), "{url}: {error}");
            // Line breaks are escaped later, when the error gets its key.
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
