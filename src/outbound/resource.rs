//! A URL, and the means to ask it.

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

/// How long a connection waits for the next question. Servers close theirs after two seconds and
/// more (gunicorn's `keepalive`); a question that meets the close would be lost.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// What a question says of who asks.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("idlewild/", env!("CARGO_PKG_VERSION")));

/// A URL, and the means to ask it.
#[derive(Debug)]
pub(crate) struct HttpResource {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector<DnsResolver>>, Empty<Bytes>>,
    max_answer_bytes: usize,
}

/// No certificate is trusted here, so that nobody could be asked over TLS.
#[derive(Debug, Error)]
#[error("{0} (install ca-certificates, or name a file in SSL_CERT_FILE)")]
pub struct NoRootCertificates(#[from] io::Error);

/// Why there is no answer to go by. No variant holds anything of what was sent.
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
    /// A source that gives at most `max_answer_bytes`. Over TLS it has to show a certificate that
    /// the system trusts, or one of `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// The URL asks for TLS, and no certificate is trusted here.
    pub(crate) fn new(url: Uri, max_answer_bytes: usize) -> Result<Self, NoRootCertificates> {
        let builder = HttpsConnectorBuilder::new();
        let provider = aws_lc_rs::default_provider();
        let builder = if url.scheme_str() == Some("https") {
            builder.with_provider_and_native_roots(provider)?
        } else {
            // Without TLS there is nobody to trust, and no file of the system to read.
            let config = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let mut connector = HttpConnector::new_with_resolver(DnsResolver::of_the_system());
        // TLS is the layer's above.
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

    /// The body of the answer, if that is a 200.
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

    /// Whether this asks the same URL as the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

/// The URL for people; its query may hold a secret.
impl fmt::Display for HttpResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.url.to_string();
        f.write_str(text.split('?').next().unwrap_or_default())
    }
}

/// What the system or the peer said, under the layers that passed it on.
pub(crate) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}
