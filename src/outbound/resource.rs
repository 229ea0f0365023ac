//! A URL, and a client that fetches it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use thiserror::Error;

use super::dns::DnsResolver;

/// How long an idle connection is kept. Servers close theirs after two seconds or more (gunicorn's
/// `keepalive`), and a request that meets the close would be lost.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// The `User-Agent` of requests.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("idlewild/", env!("CARGO_PKG_VERSION")));

/// A URL, and a client that fetches it.
#[derive(Debug)]
pub(crate) struct HttpResource {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector<DnsResolver>>, Empty<Bytes>>,
    max_answer_bytes: usize,
}

/// The system trusts no certificate, so TLS cannot be used.
#[derive(Debug, Error)]
#[error("{0} (install ca-certificates, or name a file in SSL_CERT_FILE)")]
pub struct NoRootCertificates(#[from] io::Error);

/// Why a response could not be used. No variant contains anything of the request.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Unreachable(String),
    #[error("the answer was cut short: {0}")]
    CutShort(String),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl HttpResource {
    /// `max_answer_bytes` limits the size of a response. Over TLS, the server's certificate must be trusted
    /// by the system or by `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// The URL is https, and the system trusts no certificate.
    pub(crate) fn new(url: Uri, max_answer_bytes: usize) -> Result<Self, NoRootCertificates> {
        let builder = HttpsConnectorBuilder::new();
        let provider = aws_lc_rs::default_provider();
        let builder = if url.scheme_str() == Some("https") {
            builder.with_provider_and_native_roots(provider)?
        } else {
            // Without TLS no certificates are needed, so the system's are not read.
            let config = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let mut connector = HttpConnector::new_with_resolver(DnsResolver::of_the_system());
        // The connector for TLS wraps this one and accepts https.
        connector.enforce_http(false);
        let builder = builder.https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(MAX_IDLE)
            .build(builder.wrap_connector(connector));
        Ok(Self {
            url,
            client,
            max_answer_bytes,
        })
    }

    /// Fetches the URL; returns the body of a 200 response.
    pub(crate) async fn get(&self, headers: HeaderMap) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(USER_AGENT, AGENT);
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Unreachable(innermost(&error).to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), self.max_answer_bytes);
        let body = body.collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLong(self.max_answer_bytes)
            } else {
                FetchError::CutShort(innermost(&*error).to_string())
            }
        })?;
        Ok(body.to_bytes())
    }

    /// The URL, whose query may contain a secret.
    pub(crate) fn url(&self) -> &Uri {
        &self.url
    }

    /// Returns true if both have the same URL.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

/// Shows the URL without its query, which may contain a secret.
impl fmt::Display for HttpResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.url.to_string();
        f.write_str(text.split('?').next().unwrap_or_default())
    }
}

/// The innermost cause: the message of the system or the peer.
pub(crate) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}
