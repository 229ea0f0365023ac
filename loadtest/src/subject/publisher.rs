//! Publishes numbered events to a server, with its template.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin::Admin;
use super::peer::{Peer, Publish};
use crate::template::{Template, Variable};

/// The only publisher of a run. It has a connection to each node that it publishes on, and takes them in turn. An
/// event is published after the one before it was accepted, so all nodes have the events in this order.
#[derive(Debug)]
pub(super) struct Publisher {
    admins: Vec<Admin>,
    /// Index of the node that takes the next event.
    turn: usize,
    broadcast: Option<Publish>,
    unicast: Option<Publish>,
    key: Option<String>,
}

impl Publisher {
    /// A publisher that is not connected yet, for the nodes with these admin listeners.
    pub(super) fn new(peer: &Peer, admins: Vec<SocketAddr>, key: Option<String>) -> Self {
        Self {
            admins: admins.into_iter().map(Admin::new).collect(),
            turn: 0,
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
        let turn = self.turn;
        self.turn = (turn + 1) % self.admins.len();
        let (status, answer) =
            self.admins[turn].request(&publish.method, &path, &headers, Some(&body))?;
        ensure!(publish.status.contains(&status), "{status} {answer}");
        Ok(())
    }
}
