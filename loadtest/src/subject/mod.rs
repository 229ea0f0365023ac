//! What is measured: a server, or the floor in a server's place.
//!
//! A scenario connects to a [`Subject`], publishes through it and reads its process; it does not know
//! which of the two it has, so whatever it measures can be set beside the floor.

mod admin;
pub(crate) mod proc;
mod spawn;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::{AuthStyle, Common};
use crate::clock;
use crate::engine::{Credential, Target};
use crate::floor::Floor;
use crate::token::Minter;
use admin::Admin;
use spawn::Spawned;

/// Tokens outlive any run.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// The process under test.
#[derive(Debug)]
pub(crate) struct Subject {
    kind: Kind,
    target: Target,
}

#[derive(Debug)]
enum Kind {
    Spawned(Spawned, Admin),
    Running {
        admin: Option<Admin>,
        pid: Option<u32>,
    },
    Floor(Floor),
}

impl Subject {
    /// The subject the command line asks for.
    pub(crate) fn open(common: &Common) -> Result<Self> {
        if common.floor {
            return Self::floor(common);
        }
        if common.spawn {
            let spawned = Spawned::start(common)?;
            let admin = Admin::new(spawned.admin(), Some(spawned.api_key().to_owned()));
            let target = target(common, spawned.public(), Some(spawned.secret()));
            return Ok(Self {
                kind: Kind::Spawned(spawned, admin),
                target,
            });
        }
        let Some(url) = &common.url else {
            bail!("what to measure? one of --spawn, --floor, --url")
        };
        let address = resolve(url, common.allow_remote)?;
        let admin = match &common.admin_url {
            Some(url) => Some(Admin::new(
                resolve(url, common.allow_remote)?,
                common.api_key()?,
            )),
            None => None,
        };
        let secret = common.secret()?;
        let target = target(common, address, secret.as_deref());
        Ok(Self {
            kind: Kind::Running {
                admin,
                pid: common.server_pid,
            },
            target,
        })
    }

    /// A floor with as many threads as the server has shards.
    pub(crate) fn floor(common: &Common) -> Result<Self> {
        let floor = Floor::start(common.floor_threads())?;
        let target = target(
            common,
            floor.address(),
            Some(b"the floor reads no token, but its request is as long"),
        );
        Ok(Self {
            kind: Kind::Floor(floor),
            target,
        })
    }

    /// Where clients connect.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The process whose memory and CPU are read, if it is known.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Spawned(server, _) => Some(server.pid()),
            Kind::Running { pid, .. } => *pid,
            Kind::Floor(floor) => Some(floor.pid()),
        }
    }

    /// Publishes event `n` to all.
    pub(crate) fn publish(&mut self, n: u32, scheduled_ns: u64) -> Result<()> {
        let data = format!(r#"{{"n":{n},"scheduled_ns":{scheduled_ns}}}"#);
        match &mut self.kind {
            Kind::Spawned(_, admin)
            | Kind::Running {
                admin: Some(admin), ..
            } => {
                let body = format!(r#"{{"to":{{"all":true}},"data":{data}}}"#);
                let (status, answer) = admin.request("POST", "/v1/events", Some(&body))?;
                ensure!(status == 202, "publishing event {n}: {status} {answer}");
                Ok(())
            }
            Kind::Running { admin: None, .. } => {
                bail!("publishing needs --admin-url and --api-key-file")
            }
            Kind::Floor(floor) => floor.broadcast(&chunk(&data)),
        }
    }

    /// Where the subject is the floor: a heartbeat to each connection every `period_ms`.
    pub(crate) fn set_floor_heartbeats(&mut self, period_ms: u64) -> Result<()> {
        match &mut self.kind {
            Kind::Floor(floor) => floor.heartbeats(period_ms),
            Kind::Spawned(..) | Kind::Running { .. } => Ok(()),
        }
    }

    /// Ends what was started here, and says how it ended.
    pub(crate) fn stop(self) -> Result<()> {
        match self.kind {
            Kind::Spawned(server, _) => server.stop(),
            Kind::Running { .. } | Kind::Floor(_) => Ok(()),
        }
    }
}

/// An event as the server writes it, to the byte: the floor sends the same.
fn chunk(data: &str) -> Vec<u8> {
    let id_ms = clock::unix_s() * 1_000;
    let frame = format!("id: {id_ms}-0\nevent: message\ndata: {data}\n\n");
    format!("{:x}\r\n{frame}\r\n", frame.len()).into_bytes()
}

fn target(common: &Common, address: SocketAddr, secret: Option<&[u8]>) -> Target {
    let credential = match secret {
        None => Credential::None,
        Some(secret) => {
            let minter = Minter::new(secret, common.users(), TOKEN_TTL);
            match common.auth {
                AuthStyle::Query => Credential::Query(minter),
                AuthStyle::Header => Credential::Header(minter),
            }
        }
    };
    Target {
        address,
        host: address.to_string(),
        path: common.path.clone(),
        credential,
    }
}

/// The address in `http://host:port`; a remote one only when it is allowed.
fn resolve(url: &str, allow_remote: bool) -> Result<SocketAddr> {
    let authority = url
        .strip_prefix("http://")
        .with_context(|| format!("{url}: only http:// is spoken"))?;
    let authority = authority.trim_end_matches('/');
    let mut addresses = authority
        .to_socket_addrs()
        .with_context(|| format!("{url}: expected http://host:port"))?;
    let address = addresses
        .next()
        .with_context(|| format!("{url}: no address"))?;
    ensure!(
        allow_remote || address.ip().is_loopback(),
        "{url} is {address}, not this machine: a load test of another host needs --allow-remote"
    );
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_target_is_refused_unless_allowed() {
        assert!(resolve("http://127.0.0.1:8000/", false).is_ok());
        assert!(resolve("http://[::1]:8000", false).is_ok());
        let refused = resolve("http://192.0.2.1:8000", false)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("--allow-remote"), "{refused}");
        assert!(resolve("http://192.0.2.1:8000", true).is_ok());
        assert!(resolve("https://127.0.0.1:8000", false).is_err());
        assert!(resolve("http://127.0.0.1", false).is_err());
    }

    #[test]
    fn the_floors_event_has_the_form_of_the_contract() {
        let chunk = String::from_utf8(chunk("{}")).unwrap();
        let (size, frame) = chunk.split_once("\r\n").unwrap();
        let frame = frame.strip_suffix("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(size, 16), Ok(frame.len()));
        assert!(
            frame.starts_with("id: ") && frame.ends_with("-0\nevent: message\ndata: {}\n\n"),
            "{frame}"
        );
    }
}
