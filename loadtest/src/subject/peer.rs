//! Templates for servers: how clients subscribe, and how events are published.
//!
//! Idlewild has one as well, so that it is measured by the same code as other servers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::engine::Way;
use crate::parse::messages::Dialect;
use crate::template::{OF_BATCH, OF_CLIENT, OF_EVENT, OF_UNICAST, Template, Variable};
use crate::transport::Transport;

/// The templates that come with the program, by name.
const READY: &[(&str, &str)] = &[
    ("channels", include_str!("../../peers/channels.toml")),
    ("go", include_str!("../../peers/go.toml")),
    ("idlewild", include_str!("../../peers/idlewild.toml")),
    ("mercure", include_str!("../../peers/mercure.toml")),
    ("nchan", include_str!("../../peers/nchan.toml")),
    ("node", include_str!("../../peers/node.toml")),
    ("pushpin", include_str!("../../peers/pushpin.toml")),
    ("ws", include_str!("../../peers/ws.toml")),
];

/// The template of a server.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// The paths for clients, one per transport; the first is the default.
    ways: Vec<Way>,
    /// Publishes to all clients.
    pub(crate) broadcast: Option<Publish>,
    /// Publishes to one user.
    pub(crate) unicast: Option<Publish>,
    /// Publishes several events in one request.
    pub(crate) batch: Option<Publish>,
}

/// A request that publishes an event.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) method: String,
    pub(crate) path: Template,
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) body: Template,
    /// Status codes that mean success.
    pub(crate) status: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerText {
    name: String,
    subscribe: Option<SubscribeText>,
    websocket: Option<WebSocketText>,
    publish: Option<PublishText>,
    unicast: Option<PublishText>,
    batch: Option<PublishText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeText {
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebSocketText {
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    messages: Dialect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishText {
    #[serde(default = "post")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(default = "taken")]
    status: Vec<u16>,
}

impl Peer {
    /// The template of this name, or from this file.
    pub(crate) fn open(name_or_path: &str) -> Result<Self> {
        let ready = READY.iter().find(|(name, _)| *name == name_or_path);
        if let Some((_, text)) = ready {
            return Self::parse(text);
        }
        let text = std::fs::read_to_string(name_or_path).with_context(|| {
            let names: Vec<_> = READY.iter().map(|(name, _)| *name).collect();
            format!(
                "{name_or_path}: neither a file nor one of {}",
                names.join(", ")
            )
        })?;
        Self::parse(&text).with_context(|| name_or_path.to_owned())
    }

    /// The template of Idlewild.
    pub(crate) fn idlewild() -> Result<Self> {
        Self::open("idlewild")
    }

    /// The way over `transport`; by default the first of the template.
    pub(crate) fn way(&self, transport: Option<Transport>) -> Result<&Way> {
        let wanted = |way: &&Way| transport.is_none_or(|transport| way.transport() == transport);
        self.ways.iter().find(wanted).with_context(|| {
            let table = match transport {
                Some(Transport::Ws) => "websocket",
                _ => "subscribe",
            };
            format!(
                "--transport: the template of {} has no [{table}]",
                self.name
            )
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let text: PeerText = toml::from_str(text)?;
        let mut ways = Vec::new();
        if let Some(SubscribeText { path, headers }) = text.subscribe {
            ways.push(way(&path, headers, None)?);
        }
        if let Some(text) = text.websocket {
            ways.push(way(&text.path, text.headers, Some(text.messages))?);
        }
        ensure!(
            !ways.is_empty(),
            "the template has neither [subscribe] nor [websocket]; add one with the clients' path"
        );
        Ok(Self {
            name: text.name,
            ways,
            broadcast: text
                .publish
                .map(|text| publish(text, OF_EVENT))
                .transpose()?,
            unicast: text
                .unicast
                .map(|text| publish(text, OF_UNICAST))
                .transpose()?,
            batch: text.batch.map(|text| publish(text, OF_BATCH)).transpose()?,
        })
    }
}

fn way(
    path: &str,
    header_texts: BTreeMap<String, String>,
    messages: Option<Dialect>,
) -> Result<Way> {
    Ok(Way {
        path: Template::parse(path, OF_CLIENT)?,
        headers: headers(header_texts, OF_CLIENT)?,
        messages,
    })
}

fn publish(text: PublishText, allowed: &[Variable]) -> Result<Publish> {
    Ok(Publish {
        method: text.method,
        path: Template::parse(&text.path, allowed)?,
        headers: headers(text.headers, allowed)?,
        body: Template::parse(&text.body, allowed)?,
        status: text.status,
    })
}

fn headers(
    texts: BTreeMap<String, String>,
    allowed: &[Variable],
) -> Result<Vec<(String, Template)>> {
    let parsed = texts
        .into_iter()
        .map(|(name, value)| Ok((name, Template::parse(&value, allowed)?)));
    parsed.collect()
}

fn post() -> String {
    "POST".to_owned()
}

fn taken() -> Vec<u16> {
    vec![200, 201, 202, 204]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_template_can_publish_to_all_and_to_one() {
        for (name, _) in READY {
            let peer = Peer::open(name).unwrap();
            assert_eq!(peer.name, *name);
            assert!(peer.broadcast.is_some() && peer.unicast.is_some(), "{name}");
        }
    }

    #[test]
    fn a_template_lists_the_transports_of_its_server() {
        let transports = |name: &str| {
            let peer = Peer::open(name).unwrap();
            let of = |transport| peer.way(transport).map(Way::transport).ok();
            [None, Some(Transport::Sse), Some(Transport::Ws)].map(of)
        };
        let (sse, ws) = (Some(Transport::Sse), Some(Transport::Ws));
        assert_eq!(transports("idlewild"), [sse, sse, ws]);
        assert_eq!(transports("nchan"), [sse, sse, None]);
        assert_eq!(transports("channels"), [ws, None, ws]);
        assert_eq!(transports("ws"), [ws, None, ws]);
        let refused = Peer::open("nchan").unwrap();
        let refused = refused.way(ws).unwrap_err().to_string();
        assert!(refused.contains("nchan has no [websocket]"), "{refused}");
    }

    #[test]
    fn a_template_that_cannot_be_used_is_refused_with_the_reason() {
        let refused = |text: &str| format!("{:#}", Peer::parse(text).unwrap_err());
        assert!(refused("name = 'x'").contains("subscribe"));
        assert!(refused("name = 'x'\nsubscribe = { path = '/${data}' }").contains("user, number"));
        assert!(refused("nom = 'x'\nsubscribe = { path = '/' }").contains("nom"));
        let missing = format!("{:#}", Peer::open("nowhere").unwrap_err());
        assert!(missing.contains("nchan, node, pushpin"), "{missing}");
    }
}
