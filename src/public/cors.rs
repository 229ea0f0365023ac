//! Access for pages of other origins (Fetch standard, "CORS protocol").

use hyper::HeaderMap;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderName,
    HeaderValue, ORIGIN, VARY,
};

use crate::config::{self, AllowedOrigin};

/// Request headers that a page may send: the guide's two, those of EventSource and its polyfills,
/// those of Django's pages, and those that tracing and error reporting add to every request. A browser
/// blocks a request that has any other header.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Cache-Control, Last-Event-ID, \
    X-Requested-With, X-CSRFToken, traceparent, tracestate, baggage, sentry-trace";
/// Response headers of a refusal that a page may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("Retry-After, WWW-Authenticate");
/// How long a browser may cache a preflight: one hour, so that a changed configuration takes effect.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("3600");

/// The rules, parsed from `[cors]`.
#[derive(Debug)]
pub(super) struct Cors {
    any_origin: bool,
    origins: Vec<HeaderValue>,
    credentials: bool,
    headers: HeaderValue,
}

impl Cors {
    pub(super) fn new(config: &config::Cors) -> Self {
        let more = config.headers.iter().map(|name| &**name);
        let headers: Vec<&str> = std::iter::once(ALLOWED_HEADERS).chain(more).collect();
        Self {
            // With cookies, a wildcard would let every site read a visitor's events.
            any_origin: !config.credentials && config.origins.contains(&AllowedOrigin::Any),
            origins: config.origins.iter().filter_map(exact).collect(),
            credentials: config.credentials,
            // Header names are ASCII.
            headers: HeaderValue::from_str(&headers.join(", "))
                .unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS)),
        }
    }

    /// The CORS header fields of a response. They grant nothing to an origin that is not allowed.
    pub(super) fn fields(
        &self,
        request: &HeaderMap,
        methods: &'static str,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::with_capacity(5);
        let origin = request.get(ORIGIN);
        let allowed = if self.any_origin {
            Some(HeaderValue::from_static("*"))
        } else {
            fields.push((VARY, HeaderValue::from_static("Origin")));
            origin
                .filter(|origin| self.origins.contains(origin))
                .cloned()
        };
        if let Some(allowed) = allowed {
            fields.push((ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
            fields.push((ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone()));
            fields.push((
                ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static(methods),
            ));
            if self.credentials {
                fields.push((
                    ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                ));
            }
        }
        fields
    }

    /// The header fields of a preflight's response.
    pub(super) fn preflight_fields(
        &self,
        request: &HeaderMap,
        methods: &'static str,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = self.fields(request, methods);
        fields.push((ACCESS_CONTROL_MAX_AGE, MAX_AGE_S));
        fields
    }
}

/// Lets a page that may read a refusal also read its `Retry-After` and `WWW-Authenticate`. A stream
/// has neither header.
pub(super) fn expose_reasons(fields: &mut Vec<(HeaderName, HeaderValue)>) {
    if fields
        .iter()
        .any(|(name, _)| name == ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        fields.push((ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS));
    }
}

/// A listed origin, as browsers send it; `None` for the wildcard.
fn exact(origin: &AllowedOrigin) -> Option<HeaderValue> {
    match origin {
        AllowedOrigin::Any => None,
        AllowedOrigin::Exact(origin) => HeaderValue::from_str(origin).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin_for(origins: &[&str], credentials: bool, origin: Option<&str>) -> Option<String> {
        let cors = Cors::new(&config::Cors {
            origins: origins.iter().map(|it| it.parse().unwrap()).collect(),
            credentials,
            ..config::Cors::default()
        });
        let mut request = HeaderMap::new();
        if let Some(origin) = origin {
            request.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        cors.fields(&request, "GET")
            .into_iter()
            .find(|(name, _)| name == ACCESS_CONTROL_ALLOW_ORIGIN)
            .map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_wildcard_is_answered_with_a_wildcard_but_allows_nothing_with_cookies() {
        assert_eq!(
            origin_for(&["*"], false, Some("http://a")),
            Some("*".into())
        );
        for origin in [Some("http://a"), Some("null"), Some("*"), None] {
            assert_eq!(origin_for(&["*"], true, origin), None, "{origin:?}");
        }
    }

    #[test]
    fn a_listed_origin_is_echoed_and_another_gets_no_permission() {
        let origins = ["http://localhost:3000"];
        assert_eq!(
            origin_for(&origins, false, Some("http://localhost:3000")),
            Some("http://localhost:3000".into())
        );
        assert_eq!(
            origin_for(&origins, false, Some("http://localhost:3001")),
            None
        );
    }
}
