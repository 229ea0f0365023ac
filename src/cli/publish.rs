//! `idlewild publish`: one event to a running server's admin listener.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{ArgGroup, Args};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::say;

/// How long the server may take: an answer comes in milliseconds, or after the two seconds that
/// it waits for delivery to catch up.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("to").required(true)))]
pub(super) struct Publish {
    /// One user.
    #[arg(long, group = "to", value_name = "ID")]
    user: Option<String>,
    /// Several users.
    #[arg(long, group = "to", value_delimiter = ',', value_name = "A,B")]
    users: Vec<String>,
    /// A topic.
    #[arg(long, group = "to")]
    topic: Option<String>,
    /// Everybody.
    #[arg(long, group = "to")]
    all: bool,
    /// The event's name.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Your own id; the same one again publishes nothing for ten minutes.
    #[arg(long)]
    id: Option<String>,
    /// Deliver it now or never.
    #[arg(long)]
    no_persist: bool,
    /// JSON, or a text that is sent as it is; `-` reads standard input.
    #[arg(long, value_name = "DATA")]
    data: String,
    /// Send the data as text even where it is JSON.
    #[arg(long)]
    string: bool,
    /// The admin listener, http://host:port or unix:/path.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    url: String,
    /// The API key; IDLEWILD_ADMIN__API_KEY where it is missing.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

impl Publish {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = match &self.api_key {
            Some(key) => key.clone(),
            None => std::env::var("IDLEWILD_ADMIN__API_KEY")
                .context("no API key (--api-key or IDLEWILD_ADMIN__API_KEY)")?,
        };
        let event = self.event()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (status, answer) = runtime.block_on(async {
            let exchange = post(&self.url, &key, event.to_string());
            tokio::time::timeout(TIMEOUT, exchange)
                .await
                .with_context(|| format!("{}: no answer in {TIMEOUT:?}", self.url))?
        })?;
        if status != StatusCode::ACCEPTED {
            let message = serde_json::from_str::<Value>(&answer)
                .ok()
                .and_then(|answer| Some(answer.pointer("/error/message")?.as_str()?.to_owned()))
                .unwrap_or(answer);
            bail!("{status}: {message}");
        }
        say(answer)
    }

    fn event(&self) -> anyhow::Result<Value> {
        let data = if self.data == "-" {
            let mut data = String::new();
            std::io::stdin()
                .read_to_string(&mut data)
                .context("standard input is no text")?;
            data
        } else {
            self.data.clone()
        };
        let json = serde_json::from_str(&data).ok().filter(|_| !self.string);
        let mut event = Map::new();
        event.insert("to".to_owned(), self.target());
        event.insert("data".to_owned(), json.unwrap_or(Value::String(data)));
        for (key, value) in [("event", &self.event), ("id", &self.id)] {
            if let Some(value) = value {
                event.insert(key.to_owned(), json!(value));
            }
        }
        if self.no_persist {
            event.insert("persist".to_owned(), json!(false));
        }
        Ok(Value::Object(event))
    }

    fn target(&self) -> Value {
        match (&self.user, &self.topic) {
            (Some(user), _) => json!({ "user": user }),
            (_, Some(topic)) => json!({ "topic": topic }),
            _ if self.all => json!({ "all": true }),
            _ => json!({ "users": self.users }),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn post(url: &str, key: &str, body: String) -> anyhow::Result<(StatusCode, String)> {
    let (stream, host): (Box<dyn Stream>, &str) = if let Some(path) = url.strip_prefix("unix:") {
        let stream = UnixStream::connect(path).await;
        (
            Box::new(stream.with_context(|| url.to_owned())?),
            "localhost",
        )
    } else {
        let host = url
            .strip_prefix("http://")
            .context("--url starts with http:// or unix:")?
            .trim_end_matches('/');
        ensure!(
            !host.contains('/'),
            "--url is a host and a port, without a path"
        );
        let stream = TcpStream::connect(host).await;
        (Box::new(stream.with_context(|| url.to_owned())?), host)
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/events")
        .header(HOST, host)
        .header(AUTHORIZATION, format!("Bearer {key}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
