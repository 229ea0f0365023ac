//! Protects visitors from other sites' pages (RFC 6455 §10.2). CORS does not apply to WebSocket: a browser opens one
//! for every page, with the visitor's cookies, and leaves the decision to the server.

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderValue, ORIGIN};

use crate::public::cors::Cors;

/// Returns true if a page of the request's origin may use the visitor's cookies: it comes from this host, or is
/// listed. A client that is not a browser sends no origin.
pub(super) fn is_allowed(cors: &Cors, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => is_own(origin, headers.get(HOST)) || cors.lists(origin),
        _ => false,
    }
}

fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    let (authority, port) = if let Some(authority) = origin.strip_prefix("https://") {
        (authority, ":443")
    } else if let Some(authority) = origin.strip_prefix("http://") {
        (authority, ":80")
    } else {
        return false;
    };
    let without_port = |authority: &str| {
        let bare = authority.strip_suffix(port).unwrap_or(authority);
        bare.to_ascii_lowercase()
    };
    !authority.is_empty() && without_port(authority) == without_port(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn allowed(origins: &[&str], host: &'static str, origin: &'static str) -> bool {
        let cors = Cors::new(&config::Cors {
            origins: origins.iter().map(|it| it.parse().unwrap()).collect(),
            ..config::Cors::default()
        });
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        is_allowed(&cors, &headers)
    }

    #[test]
    fn the_own_host_is_allowed_whatever_the_scheme_and_the_default_port() {
        for (host, origin) in [
            ("example.com", "https://example.com"),
            ("example.com:443", "https://example.com"),
            ("example.com", "http://example.com:80"),
            ("example.com:8000", "http://EXAMPLE.com:8000"),
            ("[::1]:8000", "http://[::1]:8000"),
        ] {
            assert!(allowed(&[], host, origin), "{host} {origin}");
        }
    }

    #[test]
    fn another_site_has_to_be_listed_and_a_wildcard_lists_none() {
        let host = "example.com";
        for origin in [
            "https://evil.example",
            "https://example.com.evil.example",
            "https://evil.example/https://example.com",
            "https://example.com:8443",
            "https://user@example.com",
            "ftp://example.com",
            "https://",
            "null",
            "",
        ] {
            assert!(!allowed(&["*"], host, origin), "{origin}");
        }
        let page = "https://app.example";
        assert!(allowed(&[page], host, page));
        assert!(!allowed(&[page], host, "https://app.example:444"));
    }

    #[test]
    fn no_origin_is_allowed_and_two_are_not() {
        let cors = Cors::new(&config::Cors::default());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("example.com"));
        assert!(is_allowed(&cors, &headers));
        for _ in 0..2 {
            headers.append(ORIGIN, HeaderValue::from_static("https://example.com"));
        }
        assert!(!is_allowed(&cors, &headers));
    }
}
