//! Templates for servers: how clients subscribe, and how events are published.
//!
//! Idlewild has one as well, so that it is measured by the same code as other servers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::template::{OF_CLIENT, OF_EVENT, OF_UNICAST, Template, Variable};

/// The templates that come with the program, by name.
const READY: &[(&str, &str)] = &[
    ("idlewild", include_str!("../../peers/idlewild.toml")),
    ("mercure", include_str!("../../peers/mercure.toml")),
    ("nchan", include_str!("../../peers/nchan.toml")),
    ("pushpin", include_str!("../../peers/pushpin.toml")),
];

/// The template of a server.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// The stream's path.
    pub(crate) path: Template,
    pub(crate) headers: Vec<(String, Template)>,
    /// Publishes to all clients.
    pub(crate) broadcast: Option<Publish>,
    /// Publishes to one user.
    pub(crate) unicast: Option<Publish>,
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
    subscribe: SubscribeText,
    publish: Option<PublishText>,
    unicast: Option<PublishText>,
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

    fn parse(text: &str) -> Result<Self> {
        let text: PeerText = toml::from_str(text)?;
        Ok(Self {
            name: text.name,
            path: Template::parse(&text.subscribe.path, OF_CLIENT)?,
            headers: headers(text.subscribe.headers, OF_CLIENT)?,
            broadcast: text
                .publish
                .map(|text| publish(text, OF_EVENT))
                .transpose()?,
            unicast: text
                .unicast
                .map(|text| publish(text, OF_UNICAST))
                .transpose()?,
        })
    }
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
    fn every_ready_template_can_do_both() {
        for (name, _) in READY {
            let peer = Peer::open(name).unwrap();
            assert_eq!(peer.name, *name);
            assert!(peer.broadcast.is_some() && peer.unicast.is_some(), "{name}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_used_is_refused_by_what_is_wrong() {
        let refused = |text: &str| format!("{:#}", Peer::parse(text).unwrap_err());
        assert!(refused("name = 'x'").contains("subscribe"));
        assert!(refused("name = 'x'\nsubscribe = { path = '/${data}' }").contains("user, number"));
        assert!(refused("nom = 'x'\nsubscribe = { path = '/' }").contains("nom"));
        let missing = format!("{:#}", Peer::open("nowhere").unwrap_err());
        assert!(missing.contains("nchan, pushpin"), "{missing}");
    }
}
