//! The commands' client for a running server's admin listener.

use std::io;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::usage_error::UsageError;
use crate::net::Socket;

/// The server that a command talks to.
#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// The admin listener, http://host:port or unix:/path.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    url: String,
}

/// The address of an admin listener.
#[derive(Clone, Copy)]
pub(super) struct Address<'a> {
    url: &'a str,
    /// The request's `Host`; also the address to connect to, unless there is a unix socket.
    host: &'a str,
    /// The path of a unix socket.
    unix_path: Option<&'a str>,
}

impl ServerArgs {
    pub(super) fn address(&self) -> Result<Address<'_>, UsageError> {
        let url = self.url.as_str();
        let invalid = |what| {
            UsageError(format!(
                "--url: `{url}` {what} (http://127.0.0.1:8001 or unix:/path)"
            ))
        };
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Address {
                url,
                host: "localhost",
                unix_path: Some(path),
            });
        }
        let host = url
            .strip_prefix("http://")
            .ok_or_else(|| invalid("does not start with http:// or unix:"))?
            .trim_end_matches('/');
        if host.contains('/') {
            return Err(invalid("has a path"));
        }
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        if port.parse::<u16>().is_err() {
            return Err(invalid("has no port"));
        }
        Ok(Address {
            url,
            host,
            unix_path: None,
        })
    }
}

impl Address<'_> {
    /// Sends a request on a new connection and returns the response's status and body.
    ///
    /// # Errors
    /// The connection failed, or there was no response within `timeout`.
    pub(super) fn send(
        self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> anyhow::Result<(StatusCode, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            tokio::time::timeout(timeout, self.exchange(request))
                .await
                .with_context(|| format!("no response within {timeout:?}"))
                .flatten()
                .with_context(|| self.url.to_owned())
        })
    }

    async fn connect(self) -> io::Result<Socket> {
        let fd = match self.unix_path {
            Some(path) => UnixStream::connect(path).await?.into_std()?.into(),
            None => TcpStream::connect(self.host).await?.into_std()?.into(),
        };
        Socket::from_fd(fd)
    }

    async fn exchange(
        self,
        mut request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, String)> {
        let socket = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(self.host)?);
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// The text at `pointer` in a JSON body, or the whole body if there is none.
pub(super) fn text_at(body: String, pointer: &str) -> String {
    serde_json::from_str::<Value>(&body)
        .ok()
        .and_then(|body| Some(body.pointer(pointer)?.as_str()?.to_owned()))
        .unwrap_or(body)
}
