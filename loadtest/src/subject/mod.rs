//! The subject of a measurement: a server, or the floor.
//!
//! A scenario connects to a [`Subject`], publishes through it and observes its process. It does not know
//! which of the two it has, so every measurement can be compared with the floor.

mod admin;
mod answer;
mod control;
mod endpoint;
mod open_loop;
mod peer;
pub(crate) mod proc;
mod processes;
mod publisher;
mod requests;
mod spawn;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cli::Common;
use crate::engine::{Node, Nodes, Origin, Target, Way};
use crate::floor::{Floor, frames};
use crate::template::{OF_CLIENT, Template};
use crate::tls::Trust;
use crate::token::{Minter, Tokens};
use crate::transport::Transport;
pub(crate) use control::{Control, Upgraded};
use endpoint::Endpoint;
pub(crate) use open_loop::{Answers, Grouping, OpenLoop};
use peer::Peer;
pub(crate) use processes::Processes;
use publisher::Publisher;
use requests::{Event, Requests};
use spawn::Spawned;

/// Lifetime of tokens: longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

const NO_ADMIN_URL: &str = "publishing needs --admin-url";

/// The server under test, or its nodes.
#[derive(Debug)]
pub(crate) struct Subject {
    kind: Kind,
    /// `None` for the floor, and without `--admin-url`.
    publisher: Option<Publisher>,
    name: String,
    target: Target,
    payload_bytes: usize,
    /// The most events in one publish request.
    batch: usize,
}

/// An event of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered {
    pub(crate) n: u32,
    pub(crate) scheduled_ns: u64,
    pub(crate) to: Audience,
}

#[derive(Debug)]
enum Kind {
    Spawned(Box<Spawned>),
    Running(Processes),
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
    /// A user without connections, by number.
    Nobody(u32),
}

impl Subject {
    /// The subject that the command line asks for.
    pub(crate) fn open(common: &Common) -> Result<Self> {
        let secure = |url: &String| url.starts_with("https://");
        let by_tls = common.tls.asked_for() || common.url.iter().any(secure);
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
        let way = way(common, &peer, common.transport)?;
        ensure!(
            common.batch() == 1 || peer.batch.is_some(),
            "--batch: the template of {} has no [batch]",
            peer.name
        );
        let subject = |kind, publisher, target| Self {
            kind,
            publisher,
            name: peer.name.clone(),
            target,
            payload_bytes: common.payload_bytes(),
            batch: common.batch(),
        };
        if common.spawn {
            ensure!(
                common.peer.is_none(),
                "--spawn starts only Idlewild: start {} yourself and pass its --url",
                peer.name
            );
            let spawned = Spawned::start(common)?;
            let key = Some(spawned.api_key().to_owned());
            let publisher = Publisher::new(Requests::new(&peer, key), vec![spawned.admin()]);
            let tokens = Some(minted(common, spawned.secret()));
            let nodes = if common.mix {
                let over = |transport| self::way(common, &peer, Some(transport));
                Nodes::of_one_server(vec![
                    spawned.plain(over(Transport::Sse)?),
                    spawned.plain(over(Transport::Ws)?),
                    spawned.secure(common, over(Transport::Sse)?)?,
                ])
            } else if common.tls.asked_for() {
                Nodes::single(spawned.secure(common, way)?)
            } else {
                Nodes::single(spawned.plain(way))
            };
            let target = target(common, nodes, tokens)?;
            let kind = Kind::Spawned(Box::new(spawned));
            return Ok(subject(kind, Some(publisher), target));
        }
        ensure!(
            !common.url.is_empty(),
            "nothing to measure: use one of --spawn, --floor, --url"
        );
        let nodes = common.url.iter().map(|url| node(common, way.clone(), url));
        let nodes = Nodes::new(nodes.collect::<Result<_>>()?)?;
        let admins = common.admin_url.iter();
        let admins = admins.map(|url| Endpoint::resolve_plain(url, common.allow_remote));
        let admins: Vec<SocketAddr> = admins.collect::<Result<_>>()?;
        let publisher = if admins.is_empty() {
            None
        } else {
            Some(Publisher::new(
                Requests::new(&peer, common.api_key()?),
                admins,
            ))
        };
        let processes = Processes::of_nodes(&common.server_pid, nodes.count())?;
        let tokens = match (common.tokens()?, common.secret()?) {
            (Some(list), _) => Some(Tokens::Listed(Arc::new(list))),
            (None, Some(secret)) => Some(minted(common, &secret)),
            (None, None) => None,
        };
        let target = target(common, nodes, tokens)?;
        Ok(subject(Kind::Running(processes), publisher, target))
    }

    /// A floor with as many threads as the server has shards.
    pub(crate) fn floor(common: &Common, kind: FloorKind) -> Result<Self> {
        // The floor sends the same bytes as Idlewild, over the transport of the subject.
        let transport = peer(common)?.way(common.transport)?.transport();
        let way = way(common, &Peer::idlewild()?, Some(transport))?;
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
        let nodes = Nodes::single(Node {
            address: floor.address(),
            way,
            tls,
        });
        let target = target(common, nodes, tokens)?;
        Ok(Self {
            kind: Kind::Floor(floor),
            publisher: None,
            name: "floor".to_owned(),
            target,
            payload_bytes: common.payload_bytes(),
            batch: common.batch(),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Remarks about the figures of a run.
    pub(crate) fn notes(&self, common: &Common) -> Vec<String> {
        let by_tls = self.target.nodes.secure();
        let mut notes = Vec::new();
        if common.mix {
            notes.push(
                "a third of the clients use SSE, a third WebSocket, and a third SSE over TLS"
                    .to_owned(),
            );
        }
        if by_tls && self.is_floor() {
            notes.push("this floor keeps a whole rustls connection per client".to_owned());
        }
        if by_tls && !common.url.is_empty() && !common.tls.verifies() {
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

    /// The transport of its clients; if they are mixed, that of the first.
    pub(crate) fn transport(&self) -> Transport {
        let first = self.target.nodes.iter().next();
        first.map_or(Transport::Sse, |node| node.way.transport())
    }

    /// Returns true for the floor.
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self.kind, Kind::Floor(_))
    }

    /// The address for clients.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The processes whose memory and CPU are measured.
    pub(crate) fn processes(&self) -> Processes {
        match &self.kind {
            Kind::Spawned(server) => Processes::single(server.pid()),
            Kind::Running(processes) => processes.clone(),
            Kind::Floor(floor) => Processes::single(floor.pid()),
        }
    }

    /// The most events in one call of [`Self::publish`].
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Publishes events, in one request.
    pub(crate) fn publish(&mut self, events: &[Numbered]) -> Result<()> {
        let transport = self.transport();
        let bytes = self.payload_bytes;
        if let Kind::Floor(floor) = &mut self.kind {
            return events.iter().try_for_each(|event| {
                let data = payload(event.n, event.scheduled_ns, None, bytes);
                let frame = frames::event(transport, &data);
                match event.to {
                    Audience::All => floor.broadcast(&frame),
                    Audience::User(number) => floor.unicast(number, &frame),
                    Audience::Nobody(_) => Ok(()),
                }
            });
        }
        let publisher = self.publisher.as_mut().context(NO_ADMIN_URL)?;
        let texts = events
            .iter()
            .map(|event| event_text(&self.target, event, bytes));
        let published = publisher.publish(&texts.collect::<Result<Vec<Event>>>()?);
        published.with_context(|| {
            let first = events.first().map_or(0, |event| event.n);
            format!("publishing event {first}")
        })
    }

    /// Connects a publisher that does not wait for answers, with this number of connections. Events that are due together
    /// share a request, and each waits up to `linger` for others.
    pub(crate) fn open_loop(&self, lanes: usize, linger: Duration) -> Result<OpenLoop<'_>> {
        ensure!(!self.is_floor(), "the floor has no admin listener");
        let publisher = self.publisher.as_ref().context(NO_ADMIN_URL)?;
        let admins: Vec<SocketAddr> = publisher.admins().collect();
        OpenLoop::connect(
            &admins,
            lanes,
            publisher.requests(),
            (&self.target, self.payload_bytes),
            Grouping {
                batch: self.batch,
                linger,
            },
        )
    }

    /// For the floor: sends a heartbeat to each connection per `period_ms`.
    pub(crate) fn set_floor_heartbeats(&mut self, period_ms: u64) -> Result<()> {
        match &mut self.kind {
            Kind::Floor(floor) => floor.heartbeats(period_ms),
            Kind::Spawned(_) | Kind::Running(_) => Ok(()),
        }
    }

    /// The control socket of a server that was started with one here.
    pub(crate) fn control(&self) -> Option<Control> {
        match &self.kind {
            Kind::Spawned(server) => server.control(),
            Kind::Running(_) | Kind::Floor(_) => None,
        }
    }

    /// Notes that another process serves now, after an upgrade.
    pub(crate) fn continue_as(&mut self, pid: u32) -> Result<()> {
        match &mut self.kind {
            Kind::Spawned(server) => server.continue_as(pid),
            Kind::Running(_) | Kind::Floor(_) => Ok(()),
        }
    }

    /// Ends a process that was started here, and reports how it ended.
    pub(crate) fn stop(self) -> Result<()> {
        match self.kind {
            Kind::Spawned(server) => server.stop(),
            Kind::Running(_) | Kind::Floor(_) => Ok(()),
        }
    }
}

/// The data of an event, and its user.
fn event_text(target: &Target, event: &Numbered, bytes: usize) -> Result<Event> {
    let user = match event.to {
        Audience::All => None,
        Audience::User(number) => Some(target.user(number).with_context(|| {
            format!("the token file does not name the user of connection {number}")
        })?),
        Audience::Nobody(number) => Some(format!("nobody-{number}")),
    };
    let data = payload(event.n, event.scheduled_ns, user.as_deref(), bytes);
    Ok(Event { data, user })
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

/// The node with this URL.
fn node(common: &Common, way: Way, url: &str) -> Result<Node> {
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
    Ok(Node {
        address: endpoint.address,
        way,
        tls,
    })
}

fn minted(common: &Common, secret: &[u8]) -> Tokens {
    Tokens::Minted(Minter::new(secret, common.users(), TOKEN_TTL))
}

/// The way of clients over `transport`; by default the first of the server's template.
fn way(common: &Common, peer: &Peer, transport: Option<Transport>) -> Result<Way> {
    let way = peer.way(transport)?.clone();
    Ok(match &common.path {
        Some(path) => Way {
            path: Template::parse(path, OF_CLIENT).context("--path")?,
            ..way
        },
        None => way,
    })
}

fn target(common: &Common, nodes: Nodes, tokens: Option<Tokens>) -> Result<Target> {
    Ok(Target {
        origin: Origin::new(nodes.iter().map(|node| node.address.ip()), &common.source)?,
        nodes,
        auth: common.auth,
        proxy_protocol: common.proxy_protocol,
        users: match &tokens {
            Some(Tokens::Listed(list)) => list.len().min(common.connections()),
            _ => common.users(),
        },
        tokens,
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
