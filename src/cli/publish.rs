//! `idlewild publish`: sends one event to a running server's admin listener.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::admin_client::{ServerArgs, text_at};
use super::output::print;
use super::usage_error::UsageError;
use crate::config::API_KEY_VARIABLES;

/// Longest wait for the response. It usually takes milliseconds; if delivery is behind, the server gives
/// up after two seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest data that is read from standard input: the highest possible `max_publish_bytes`.
const STDIN_MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("to").required(true)))]
pub(super) struct PublishCommand {
    /// Send it to one user.
    #[arg(long, group = "to", value_name = "ID")]
    user: Option<String>,
    /// Send it to several users.
    #[arg(long, group = "to", value_delimiter = ',', value_name = "A,B")]
    users: Vec<String>,
    /// Send it to the subscribers of a topic.
    #[arg(long, group = "to")]
    topic: Option<String>,
    /// Send it to all clients.
    #[arg(long, group = "to")]
    all: bool,
    /// The event's name.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Your own id; an event with the same id is published only once in ten minutes.
    #[arg(long)]
    id: Option<String>,
    /// Send it only to connected clients; it is not replayed.
    #[arg(long)]
    no_persist: bool,
    /// JSON, or text that is sent as it is; `-` reads standard input, without its last newline.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    data: String,
    /// Send the data as text even if it is JSON.
    #[arg(long)]
    string: bool,
    #[command(flatten)]
    server: ServerArgs,
    /// The API key; default: IDLEWILD_ADMIN__API_KEY or IDLEWILD_API_KEY.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A file with the API key, which then appears neither in the list of processes nor in the shell's
    /// history.
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    api_key_file: Option<PathBuf>,
}

impl PublishCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = self.key()?;
        let server = self.server.address()?;
        let data = self.data()?;
        let event = serde_json::to_string(&self.event(data))?;
        let request = Request::post("/v1/events")
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(event)))?;
        let (status, body) = server.send(request, TIMEOUT)?;
        if status != StatusCode::ACCEPTED {
            bail!("{status}: {}", text_at(body, "/error/message"));
        }
        print(body)
    }

    /// The API key: from the command line, from a file or from a variable.
    fn key(&self) -> Result<String, UsageError> {
        let key = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    UsageError(format!("--api-key-file: {}: {error}", path.display()))
                })?;
                Some(text)
            }
            (None, None) => {
                // An empty variable counts as unset, as it does for the server.
                let keys = API_KEY_VARIABLES.iter();
                keys.filter_map(|name| std::env::var(name).ok())
                    .find(|key| !key.trim().is_empty())
            }
        };
        key.map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty())
            .ok_or_else(|| {
                let names = API_KEY_VARIABLES.join(" or ");
                UsageError(format!("no API key (--api-key, --api-key-file, {names})"))
            })
    }

    /// The payload. JSON is sent as it was written: parsing it could change the order of keys and the
    /// digits of long numbers.
    fn data(&self) -> anyhow::Result<Box<RawValue>> {
        let text = if self.data == "-" {
            standard_input()?
        } else {
            self.data.clone()
        };
        let json = serde_json::from_str(&text).ok().filter(|_| !self.string);
        Ok(match json {
            Some(json) => json,
            None => to_raw_value(&text)?,
        })
    }

    fn event(&self, data: Box<RawValue>) -> Body<'_> {
        Body {
            to: self.target(),
            event: self.event.as_deref(),
            data,
            id: self.id.as_deref(),
            persist: !self.no_persist,
        }
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

/// The body of `POST /v1/events`.
#[derive(Serialize)]
struct Body<'a> {
    to: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    persist: bool,
}

/// All of standard input. The newline that `echo` appends is removed, because it would add an empty line
/// to the event.
fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin()
        .take(STDIN_MAX_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .context("cannot read standard input as text")?;
    if text.len() > STDIN_MAX_BYTES {
        return Err(UsageError(format!(
            "standard input is longer than {STDIN_MAX_BYTES} bytes; no server accepts such an event"
        ))
        .into());
    }
    let end = text.strip_suffix('\n').map_or(text.len(), |text| {
        text.strip_suffix('\r').unwrap_or(text).len()
    });
    text.truncate(end);
    Ok(text)
}
