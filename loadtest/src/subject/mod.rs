//! The subject of a measurement: a server, or the floor.
//!
//! A scenario connects to a [`Subject`], publishes through it and observes its process. It does not know
//! which of the two it has, so every measurement can be compared with the floor.

mod admin;
mod endpoint;
mod peer;
pub(crate) mod proc;
mod publisher;
mod spawn;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::Common;
use crate::engine::{Origin, Target};
use crate::floor::{Floor, frames};
use crate::template::{OF_CLIENT, Template};
use crate::tls::{self, Trust};
use crate::token::{Minter, Tokens};
use crate::transport::Transport;
use endpoint::Endpoint;
use peer::{Peer, Way};
use publisher::Publisher;
use spawn::Spawned;

/// Lifetime of tokens: longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// The process under test.
#[derive(Debug)]
pub(crate) struct Subject {
    kind: Kind,
    name: String,
    target: Target,
    payload_bytes: usize,
}

#[derive(Debug)]
enum Kind {
    Spawned(Box<Spawned>, Publisher),
    Running {
        publisher: Option<Publisher>,
        pid: Option<u32>,
    },
    Floor(Floor),
}

/// The connection to the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloorKind {
    Plain,
    /// With TLS and a whole rustls connection per client: the cost of a server that keeps all of that.
    Rustls,
}

/// The target of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    All,
    /// The user with this number.
    User(u32),
}

impl Subject {
    /// The subject that the command line asks for.
    pub(crate) fn open(common: &Common) -> Result<Self> {
        let secure = |url: &String| url.starts_with("https://");
        let by_tls = common.tls.asked_for() || common.url.as_ref().is_some_and(secure);
        if !by_tls {
            common.tls.check_unused()?;
        }
        if common.floor {
            let kind = if by_tls {
                FloorKind::Rustls
            } else {
                FloorKind::Plain
            };
            return Self::floor(common, kind);
        }
        let peer = peer(common)?;
        let way = peer.way(common.transport)?;
        let subject = |kind, target| Self {
            kind,
            name: peer.name.clone(),
            target,
            payload_bytes: common.payload_bytes(),
        };
        if common.spawn {
            ensure!(
                common.peer.is_none(),
                "--spawn starts only Idlewild: start {} yourself and pass its --url",
                peer.name
            );
            let spawned = Spawned::start(common)?;
            let key = Some(spawned.api_key().to_owned());
            let publisher = Publisher::new(&peer, spawned.admin(), key);
            let tokens = Some(minted(common, spawned.secret()));
            let tls = match spawned.certificate() {
                Some(certificate) => {
                    let trust = Trust::Of(vec![certificate.clone()]);
                    Some(common.tls_client(&spawned.public().ip().to_string(), trust)?)
                }
                None => None,
            };
            let target = target(common, way, spawned.public(), tokens, tls)?;
            return Ok(subject(Kind::Spawned(Box::new(spawned), publisher), target));
        }
        let Some(url) = &common.url else {
            bail!("nothing to measure: use one of --spawn, --floor, --url")
        };
        let endpoint = Endpoint::resolve(url, common.allow_remote)?;
        ensure!(
            endpoint.secure || !common.tls.asked_for(),
            "--tls --url {url}: use https:// for a TLS listener"
        );
        let tls = if endpoint.secure {
            Some(common.tls_client(&endpoint.host, common.tls.trust()?)?)
        } else {
            None
        };
        let publisher = match &common.admin_url {
            Some(url) => Some(Publisher::new(
                &peer,
                Endpoint::resolve_plain(url, common.allow_remote)?,
                common.api_key()?,
            )),
            None => None,
        };
        let tokens = match (common.tokens()?, common.secret()?) {
            (Some(list), _) => Some(Tokens::Listed(Arc::new(list))),
            (None, Some(secret)) => Some(minted(common, &secret)),
            (None, None) => None,
        };
        let target = target(common, way, endpoint.address, tokens, tls)?;
        let pid = common.server_pid;
        Ok(subject(Kind::Running { publisher, pid }, target))
    }

    /// A floor with as many threads as the server has shards.
    pub(crate) fn floor(common: &Common, kind: FloorKind) -> Result<Self> {
        // The floor sends the same bytes as Idlewild, over the transport of the subject.
        let transport = peer(common)?.way(common.transport)?.transport();
        let idlewild = Peer::idlewild()?;
        let way = idlewild.way(Some(transport))?;
        let tls_whole = kind == FloorKind::Rustls;
        let floor = Floor::start(common.floor_threads(), tls_whole, transport)?;
        let tls = match kind {
            FloorKind::Rustls => {
                let host = floor.address().ip().to_string();
                Some(common.tls_client(&host, Trust::Anybody)?)
            }
            FloorKind::Plain => None,
        };
        // The floor checks no token, but its requests have the same length.
        let tokens = Some(minted(common, b"a secret that is not checked"));
        let target = target(common, way, floor.address(), tokens, tls)?;
        Ok(Self {
            kind: Kind::Floor(floor),
            name: "floor".to_owned(),
            target,
            payload_bytes: common.payload_bytes(),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Remarks about the figures of a run.
    pub(crate) fn notes(&self, common: &Common) -> Vec<String> {
        let by_tls = self.target.tls.is_some();
        let mut notes = Vec::new();
        if by_tls && self.is_floor() {
            notes.push("this floor keeps a whole rustls connection per client".to_owned());
        }
        if by_tls && common.url.is_some() && !common.tls.verifies() {
            notes.push(
                "the server's certificate was not verified (--tls-ca sets the trusted certificates)"
                    .to_owned(),
            );
        }
        if by_tls && common.vs_floor {
            notes.push("the floor has no TLS, so the ratio includes the cost of TLS".to_owned());
        }
        notes
    }

    /// The transport of its clients.
    pub(crate) fn transport(&self) -> Transport {
        match self.target.messages {
            None => Transport::Sse,
            Some(_) => Transport::Ws,
        }
    }

    /// Returns true for the floor.
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self.kind, Kind::Floor(_))
    }

    /// The address for clients.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The process whose memory and CPU are measured, if known.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Spawned(server, _) => Some(server.pid()),
            Kind::Running { pid, .. } => *pid,
            Kind::Floor(floor) => Some(floor.pid()),
        }
    }

    /// Publishes event `n`.
    pub(crate) fn publish(&mut self, n: u32, scheduled_ns: u64, to: Audience) -> Result<()> {
        let user = match to {
            Audience::All => None,
            Audience::User(number) => Some(self.target.user(number).with_context(|| {
                format!("the token file does not name the user of connection {number}")
            })?),
        };
        let transport = self.transport();
        let publisher = match &mut self.kind {
            Kind::Spawned(_, publisher)
            | Kind::Running {
                publisher: Some(publisher),
                ..
            } => publisher,
            Kind::Running {
                publisher: None, ..
            } => bail!("publishing needs --admin-url"),
            Kind::Floor(floor) => {
                let data = payload(n, scheduled_ns, None, self.payload_bytes);
                let frame = frames::event(transport, &data);
                return match to {
                    Audience::All => floor.broadcast(&frame),
                    Audience::User(number) => floor.unicast(number, &frame),
                };
            }
        };
        let data = payload(n, scheduled_ns, user.as_deref(), self.payload_bytes);
        let published = publisher.publish(&data, user.as_deref());
        published.with_context(|| format!("publishing event {n}"))
    }

    /// For the floor: sends a heartbeat to each connection per `period_ms`.
    pub(crate) fn set_floor_heartbeats(&mut self, period_ms: u64) -> Result<()> {
        match &mut self.kind {
            Kind::Floor(floor) => floor.heartbeats(period_ms),
            Kind::Spawned(..) | Kind::Running { .. } => Ok(()),
        }
    }

    /// Ends a process that was started here, and reports how it ended.
    pub(crate) fn stop(self) -> Result<()> {
        match self.kind {
            Kind::Spawned(server, _) => server.stop(),
            Kind::Running { .. } | Kind::Floor(_) => Ok(()),
        }
    }
}

/// An event's data: the values that clients check, and padding up to `bytes`.
fn payload(n: u32, scheduled_ns: u64, user: Option<&str>, bytes: usize) -> String {
    let mut data = format!(r#"{{"n":{n},"scheduled_ns":{scheduled_ns}"#);
    if let Some(user) = user {
        data += r#","user":"#;
        data += &serde_json::Value::from(user).to_string();
    }
    let padding = bytes.saturating_sub(data.len() + r#","pad":""}"#.len());
    if padding > 0 {
        data.extend([r#","pad":""#, &"x".repeat(padding), "\""]);
    }
    data + "}"
}

/// The template of the server that the command line names.
fn peer(common: &Common) -> Result<Peer> {
    match &common.peer {
        Some(name) => Peer::open(name),
        None => Peer::idlewild(),
    }
}

fn minted(common: &Common, secret: &[u8]) -> Tokens {
    Tokens::Minted(Minter::new(secret, common.users(), TOKEN_TTL))
}

fn target(
    common: &Common,
    way: &Way,
    address: SocketAddr,
    tokens: Option<Tokens>,
    tls: Option<tls::Client>,
) -> Result<Target> {
    let path = match &common.path {
        Some(path) => Template::parse(path, OF_CLIENT).context("--path")?,
        None => way.path.clone(),
    };
    Ok(Target {
        address,
        host: address.to_string(),
        path,
        messages: way.messages,
        headers: way.headers.clone(),
        auth: common.auth,
        proxy_protocol: common.proxy_protocol,
        tls,
        users: match &tokens {
            Some(Tokens::Listed(list)) => list.len().min(common.connections()),
            _ => common.users(),
        },
        tokens,
        origin: Origin::new(address.ip(), &common.source)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_padded_to_its_size_and_remains_json() {
        for (user, bytes) in [(None, 0), (Some("a\"b"), 0), (None, 500), (Some("7"), 500)] {
            let data = payload(3, 17, user, bytes);
            assert!(
                data.len() >= bytes && (bytes == 0 || data.len() == bytes),
                "{data}"
            );
            let value: serde_json::Value = serde_json::from_str(&data).unwrap();
            assert_eq!(
                (value["n"].as_u64(), value["user"].as_str()),
                (Some(3), user)
            );
        }
    }
}
