//! The URLs that this server asks: `auth.jwks`, `auth.session_auth_url`.

use hyper::Uri;

use super::Auth;
use super::error::ConfigError;

impl Auth {
    /// Where the key set is fetched from; `None` where `jwks` is a file or empty.
    ///
    /// # Errors
    /// One line about what is wrong with the URL.
    pub fn jwks_url(&self) -> Result<Option<Uri>, ConfigError> {
        let jwks = self.jwks.as_str();
        if !is_http(jwks) {
            return Ok(None);
        }
        let example = "https://id.example.com/.well-known/jwks.json";
        parse("auth.jwks", jwks, example).map(Some)
    }

    /// Where sessions are asked about; `None` where they are not.
    ///
    /// # Errors
    /// One line about what is wrong with the URL.
    pub fn session_url(&self) -> Result<Option<Uri>, ConfigError> {
        let url = self.session_auth_url.as_str();
        if url.is_empty() {
            return Ok(None);
        }
        let example = "http://127.0.0.1:8080/api/v1/auth/session/";
        parse("auth.session_auth_url", url, example).map(Some)
    }
}

fn is_http(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn parse(key: &str, text: &str, example: &str) -> Result<Uri, ConfigError> {
    // Before the query, which may hold a secret; behind an `@`, before which stands a password.
    let (place, _) = text.split_once('?').unwrap_or((text, ""));
    let shown = match place.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => place.to_owned(),
    };
    let refused = |problem: &str| {
        let problem = format!("`{shown}` {problem} ({example})");
        ConfigError::key(key, problem)
    };
    if !is_http(text) {
        return Err(refused("starts with neither http:// nor https://"));
    }
    if text.contains('#') {
        return Err(refused("has a fragment, which is never sent"));
    }
    let url: Uri = text.parse().map_err(|_| refused("is no URL"))?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(refused(
            "holds a user name or a password, which are not sent",
        ));
    }
    if url.host().is_none_or(str::is_empty) {
        return Err(refused("names no host"));
    }
    // A colon behind the host and not inside a bracket is a port's.
    let has_port = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest)
        .contains(':');
    if has_port && url.port_u16().is_none_or(|port| port == 0) {
        return Err(refused("has a port that is none"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(url: &str) -> Result<Option<Uri>, ConfigError> {
        let auth = Auth {
            session_auth_url: url.to_owned(),
            ..Auth::default()
        };
        auth.session_url()
    }

    fn jwks(jwks: &str) -> Result<Option<Uri>, ConfigError> {
        let auth = Auth {
            jwks: jwks.to_owned(),
            ..Auth::default()
        };
        auth.jwks_url()
    }

    #[test]
    fn urls_are_taken_as_they_are_written() {
        for url in [
            "http://django:8000/session/",
            "https://id.example.com/jwks.json?p=policy",
            "http://[::1]:8080/",
            "https://[::1]/a@b",
        ] {
            assert_eq!(session(url).unwrap().unwrap().to_string(), url);
            assert_eq!(jwks(url).unwrap().unwrap().to_string(), url);
        }
        let upper = session("HTTPS://id.example.com").unwrap().unwrap();
        assert_eq!(upper.scheme_str(), Some("https"));
        assert!(session("").unwrap().is_none());
    }

    #[test]
    fn a_key_set_of_another_form_is_a_file() {
        for file in [
            "",
            "jwks.json",
            "/etc/idlewild/jwks.json",
            "http:/a",
            "file:///a",
        ] {
            assert!(jwks(file).unwrap().is_none(), "{file}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_in_one_line_without_a_secret() {
        for (url, problem) in [
            ("django:8000/session/", "starts with neither"),
            ("ftp://django/", "starts with neither"),
            ("unix:/run/django.sock", "starts with neither"),
            ("http://", "is no URL"),
            ("http:///session/", "is no URL"),
            ("http://:8000/", "names no host"),
            ("http://a b/", "is no URL"),
            ("http://django:0/", "a port that is none"),
            ("http://django:/", "a port that is none"),
            ("http://django:99999/", "a port that is none"),
            ("http://me:hunter2@django/", "holds a user name"),
            ("http://django/#top", "has a fragment"),
            ("http://django/\n?key=hunter2#x", "has a fragment"),
        ] {
            let error = session(url).unwrap_err().to_string();
            assert!(error.contains("auth.session_auth_url: `"), "{error}");
            assert!(error.contains(problem), "{url}: {error}");
            assert!(
                !error.contains('\n') && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
