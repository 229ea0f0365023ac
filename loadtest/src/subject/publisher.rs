//! Publishes numbered events to a server, with its template.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin::Admin;
use super::peer::{Peer, Publish};
use crate::template::{Template, Variable};

/// A connection to a server's publishing side.
#[derive(Debug)]
pub(super) struct Publisher {
    admin: Admin,
    broadcast: Option<Publish>,
    unicast: Option<Publish>,
    key: Option<String>,
}

impl Publisher {
    /// A publisher that is not connected yet.
    pub(super) fn new(peer: &Peer, address: SocketAddr, key: Option<String>) -> Self {
        Self {
            admin: Admin::new(address),
            broadcast: peer.broadcast.clone(),
            unicast: peer.unicast.clone(),
            key,
        }
    }

    /// Publishes `data` to `user`, or to all.
    pub(super) fn publish(&mut self, data: &str, user: Option<&str>) -> Result<()> {
        let publish = match user {
            Some(_) => &self.unicast,
            None => &self.broadcast,
        };
        let publish = publish
            .as_ref()
            .context("the server's template does not say how to publish this")?;
        let mut keyless = false;
        let mut render = |template: &Template| {
            let mut text = String::new();
            template.write_with(&mut text, |variable, text| match variable {
                Variable::Data => text.push_str(data),
                Variable::SseJson => {
                    let event = format!("data: {data}\n\n");
                    text.push_str(&serde_json::Value::from(event).to_string());
                }
                Variable::DataForm => text.extend(utf8_percent_encode(data, NON_ALPHANUMERIC)),
                Variable::User => text.push_str(user.unwrap_or_default()),
                Variable::Key => match &self.key {
                    Some(key) => text.push_str(key),
                    None => keyless = true,
                },
                Variable::Number => {} // not allowed in what is published
            });
            text
        };
        let (path, body) = (render(&publish.path), render(&publish.body));
        let mut headers = String::new();
        for (name, value) in &publish.headers {
            headers.extend([name, ": ", &render(value), "\r\n"]);
        }
        ensure!(!keyless, "publishing needs --api-key-file");
        let (status, answer) = self
            .admin
            .request(&publish.method, &path, &headers, Some(&body))?;
        ensure!(publish.status.contains(&status), "{status} {answer}");
        Ok(())
    }
}
