//! The requests that publish events, after a server's template.

use anyhow::{Context, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::peer::{Peer, Publish};
use crate::template::{Template, Variable};

/// Makes the requests.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    broadcast: Option<Publish>,
    unicast: Option<Publish>,
    batch: Option<Publish>,
    key: Option<String>,
}

/// An event to publish: its data, and its user if it is not for all.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) data: String,
    pub(super) user: Option<String>,
}

/// A request that publishes.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: String,
    /// Lines, each with its end.
    pub(super) headers: String,
    pub(super) body: String,
    /// Status codes that mean success.
    pub(super) status: &'a [u16],
}

impl Requests {
    /// Requests with this API key.
    pub(super) fn new(peer: &Peer, key: Option<String>) -> Self {
        Self {
            broadcast: peer.broadcast.clone(),
            unicast: peer.unicast.clone(),
            batch: peer.batch.clone(),
            key,
        }
    }

    /// The request that publishes these events.
    pub(super) fn of(&self, events: &[Event]) -> Result<Request<'_>> {
        let key = self.key.as_deref();
        let how = |event: &Event| {
            let publish = match event.user {
                Some(_) => &self.unicast,
                None => &self.broadcast,
            };
            publish
                .as_ref()
                .context("the server's template does not say how to publish this")
        };
        let (publish, values) = if let [event] = events {
            (how(event)?, Values::of(event, key))
        } else {
            let batch = self.batch.as_ref();
            let batch = batch.context("the server's template has no [batch]")?;
            let mut lines = String::new();
            for event in events {
                lines += &Values::of(event, key).render(&how(event)?.body)?;
                lines.push('\n');
            }
            (batch, Values::of_batch(lines, key))
        };
        let mut headers = String::new();
        for (name, value) in &publish.headers {
            headers.extend([name, ": ", &values.render(value)?, "\r\n"]);
        }
        Ok(Request {
            method: &publish.method,
            path: values.render(&publish.path)?,
            headers,
            body: values.render(&publish.body)?,
            status: &publish.status,
        })
    }
}

/// The values of the variables in a request.
struct Values<'a> {
    data: &'a str,
    user: &'a str,
    /// The bodies of a batch's events, one per line.
    lines: String,
    key: Option<&'a str>,
}

impl<'a> Values<'a> {
    fn of(event: &'a Event, key: Option<&'a str>) -> Self {
        Self {
            data: &event.data,
            user: event.user.as_deref().unwrap_or_default(),
            lines: String::new(),
            key,
        }
    }

    fn of_batch(lines: String, key: Option<&'a str>) -> Self {
        Self {
            data: "",
            user: "",
            lines,
            key,
        }
    }

    fn render(&self, template: &Template) -> Result<String> {
        let mut keyless = false;
        let mut text = String::new();
        template.write_with(&mut text, |variable, text| match variable {
            Variable::Data => text.push_str(self.data),
            Variable::SseJson => {
                let event = format!("data: {}\n\n", self.data);
                text.push_str(&serde_json::Value::from(event).to_string());
            }
            Variable::DataForm => text.extend(utf8_percent_encode(self.data, NON_ALPHANUMERIC)),
            Variable::User => text.push_str(self.user),
            Variable::Lines => text.push_str(&self.lines),
            Variable::Key => match self.key {
                Some(key) => text.push_str(key),
                None => keyless = true,
            },
            Variable::Number => {} // not allowed in what is published
        });
        ensure!(!keyless, "publishing needs --api-key-file");
        Ok(text)
    }
}
