//! `engine.url`: the address of the Redis or Valkey server.
//!
//! An error names the expected form and repeats nothing of the URL, since any part of it may be a
//! misplaced password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::addresses::{address, addresses, digits, host_and_port, hosts_and_ports};
use super::login::UrlLogin;
use crate::config::endpoint::UNIX_PATH_MAX_BYTES;
use crate::config::secret::{REDACTED, Secret, trimmed};
use crate::config::setting::text_setting;

/// Redis' own port.
const REDIS_PORT: u16 = 6379;
/// Sentinel's own port.
const SENTINEL_PORT: u16 = 26379;

const TCP_FORM: &str = "redis://[user:password@]host:6379/0, or rediss:// for TLS";
const UNIX_FORM: &str = "unix:///run/redis/redis.sock?db=0";
const SENTINEL_FORM: &str =
    "redis+sentinel://[user:password@]host1:26379,host2,host3/name/0, or with ?read=replica";
const CLUSTER_FORM: &str =
    "redis+cluster://[user:password@]host1:6379,host2,host3, or rediss+cluster:// for TLS";

/// A valid URL of the Redis engine. Neither the user nor the password is shown: who forgets the colon
/// writes the password in the user's place.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl {
    servers: Servers,
    login: UrlLogin,
    database: u32,
}

/// How to reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// One server by its address.
    Tcp {
        /// A host name, an IPv4 address, or an IPv6 address without brackets.
        host: Box<str>,
        /// The port.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// A server on this machine, by the path of its socket.
    Unix(PathBuf),
    /// Whichever server the Sentinels call the master.
    Sentinel {
        /// Their hosts and ports, at least one.
        sentinels: Vec<(Box<str>, u16)>,
        /// The name of the master in the Sentinels' configuration.
        master: Box<str>,
        /// Whether the log is read from a replica, while one can be used.
        reads_replica: bool,
    },
    /// A Redis Cluster, which has only database 0.
    Cluster {
        /// The hosts and ports of some of its servers, at least one. They know the others.
        seeds: Vec<(Box<str>, u16)>,
        /// Whether the connections are encrypted.
        tls: bool,
    },
}

impl EngineUrl {
    /// How to reach the server.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The ACL user; `None` for the default user.
    pub fn user(&self) -> Option<&str> {
        self.login.user.as_deref()
    }

    /// The password in the URL.
    pub fn password(&self) -> Option<&Secret> {
        self.login.password.as_ref()
    }

    /// Whether the log is read from a replica, while one can be used.
    pub fn reads_replica(&self) -> bool {
        let servers = &self.servers;
        matches!(servers, Servers::Sentinel { reads_replica, .. } if *reads_replica)
    }

    /// The same log, whichever server it is read from.
    pub fn of_log(&self) -> Self {
        let mut url = self.clone();
        if let Servers::Sentinel { reads_replica, .. } = &mut url.servers {
            *reads_replica = false;
        }
        url
    }

    /// The number of the database.
    pub fn database(&self) -> u32 {
        self.database
    }

    fn new(servers: Servers, login: UrlLogin, database: u32) -> Self {
        Self {
            servers,
            login,
            database,
        }
    }

    fn tcp(rest: &str, tls: bool) -> Result<Self, String> {
        let (login, place) = UrlLogin::split(rest)?;
        let (address, database) = match place.split_once('/') {
            Some((address, "")) => (address, 0),
            Some((address, number)) => (address, database(number)?),
            None => (place, 0),
        };
        let (host, port) = host_and_port(address, REDIS_PORT)?;
        Ok(Self::new(Servers::Tcp { host, port, tls }, login, database))
    }

    fn unix(rest: &str) -> Result<Self, String> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, "db=0"));
        if !path.starts_with('/') || path.contains('\0') {
            return Err("has no absolute path".to_owned());
        }
        if path.len() > UNIX_PATH_MAX_BYTES {
            return Err(format!(
                "has a path of {} bytes, a socket's holds at most {UNIX_PATH_MAX_BYTES}",
                path.len()
            ));
        }
        let number = query.strip_prefix("db=");
        let number = number.ok_or("has a query other than ?db=")?;
        let servers = Servers::Unix(path.into());
        Ok(Self::new(servers, UrlLogin::default(), database(number)?))
    }

    fn sentinel(rest: &str) -> Result<Self, String> {
        let (login, place) = UrlLogin::split(rest)?;
        let (place, query) = place.split_once('?').unwrap_or((place, "read=master"));
        let reads_replica = match query {
            "read=master" => false,
            "read=replica" => true,
            _ => return Err("has a query other than ?read=replica".to_owned()),
        };
        let mut parts = place.splitn(3, '/');
        let (hosts, master) = (parts.next().unwrap_or_default(), parts.next());
        let database = match parts.next() {
            None | Some("") => 0,
            Some(number) => database(number)?,
        };
        // The characters that Sentinel allows in a name.
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let master = master.filter(|name| !name.is_empty() && name.chars().all(is_allowed));
        let master = master.ok_or("does not name the master as in the Sentinels' configuration")?;
        let servers = Servers::Sentinel {
            sentinels: hosts_and_ports(hosts, SENTINEL_PORT)?,
            master: master.into(),
            reads_replica,
        };
        Ok(Self::new(servers, login, database))
    }

    fn cluster(rest: &str, tls: bool) -> Result<Self, String> {
        let (login, place) = UrlLogin::split(rest)?;
        let (hosts, number) = place.split_once('/').unwrap_or((place, ""));
        if !matches!(number, "" | "0") {
            return Err("has a database; a Redis Cluster has only number 0".to_owned());
        }
        let seeds = hosts_and_ports(hosts, REDIS_PORT)?;
        Ok(Self::new(Servers::Cluster { seeds, tls }, login, 0))
    }
}

impl Default for EngineUrl {
    fn default() -> Self {
        let servers = Servers::Tcp {
            host: "127.0.0.1".into(),
            port: REDIS_PORT,
            tls: false,
        };
        Self::new(servers, UrlLogin::default(), 0)
    }
}

fn database(number: &str) -> Result<u32, String> {
    let read = digits(number).and_then(|number| number.parse().ok());
    read.ok_or_else(|| "has a database that is not a number".to_owned())
}

impl FromStr for EngineUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = trimmed(text).split_once("://").unwrap_or_default();
        let (read, form) = match scheme.to_ascii_lowercase().as_str() {
            "redis" => (Self::tcp(rest, false), TCP_FORM),
            "rediss" => (Self::tcp(rest, true), TCP_FORM),
            "unix" => (Self::unix(rest), UNIX_FORM),
            "redis+sentinel" => (Self::sentinel(rest), SENTINEL_FORM),
            "redis+cluster" => (Self::cluster(rest, false), CLUSTER_FORM),
            "rediss+cluster" => (Self::cluster(rest, true), CLUSTER_FORM),
            _ => {
                return Err(format!(
                    "starts with none of redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// and rediss+cluster:// ({TCP_FORM}; {UNIX_FORM}; {SENTINEL_FORM}; {CLUSTER_FORM})"
                ));
            }
        };
        read.map_err(|problem| format!("{problem} ({form})"))
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = if self.login.is_given() {
            format!("{REDACTED}@")
        } else {
            String::new()
        };
        let database = self.database;
        match &self.servers {
            Servers::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                write!(f, "{scheme}://{login}{}/{database}", address(host, *port))
            }
            Servers::Unix(path) if database == 0 => write!(f, "unix://{}", path.display()),
            Servers::Unix(path) => write!(f, "unix://{}?db={database}", path.display()),
            Servers::Sentinel {
                sentinels,
                master,
                reads_replica,
            } => {
                let sentinels = addresses(sentinels);
                let query = if *reads_replica { "?read=replica" } else { "" };
                write!(
                    f,
                    "redis+sentinel://{login}{sentinels}/{master}/{database}{query}"
                )
            }
            Servers::Cluster { seeds, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                write!(f, "{scheme}+cluster://{login}{}", addresses(seeds))
            }
        }
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_setting!(EngineUrl);

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
