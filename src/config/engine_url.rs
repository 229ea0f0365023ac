//! `engine.url`: the address of the Redis or Valkey server.
//!
//! An error names the expected form and repeats nothing of the URL, since any part of it may be a
//! misplaced password.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::endpoint::UNIX_PATH_MAX_BYTES;
use super::secret::{REDACTED, Secret, trimmed};
use super::setting::text_setting;

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
    user: Option<Box<str>>,
    password: Option<Secret>,
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
        self.user.as_deref()
    }

    /// The password in the URL.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
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

    fn tcp(rest: &str, tls: bool) -> Result<Self, String> {
        let (login, place) = Login::split(rest)?;
        let (address, database) = match place.split_once('/') {
            Some((address, "")) => (address, 0),
            Some((address, number)) => (address, database(number)?),
            None => (place, 0),
        };
        let (host, port) = host_and_port(address, REDIS_PORT)?;
        Ok(login.at(Servers::Tcp { host, port, tls }, database))
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
        Ok(Login::default().at(Servers::Unix(path.into()), database(number)?))
    }

    fn sentinel(rest: &str) -> Result<Self, String> {
        let (login, place) = Login::split(rest)?;
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
        Ok(login.at(servers, database))
    }

    fn cluster(rest: &str, tls: bool) -> Result<Self, String> {
        let (login, place) = Login::split(rest)?;
        let (hosts, number) = place.split_once('/').unwrap_or((place, ""));
        if !matches!(number, "" | "0") {
            return Err("has a database; a Redis Cluster has only number 0".to_owned());
        }
        let seeds = hosts_and_ports(hosts, REDIS_PORT)?;
        Ok(login.at(Servers::Cluster { seeds, tls }, 0))
    }
}

impl Default for EngineUrl {
    fn default() -> Self {
        let servers = Servers::Tcp {
            host: "127.0.0.1".into(),
            port: REDIS_PORT,
            tls: false,
        };
        Login::default().at(servers, 0)
    }
}

/// What a URL has before its last `@`.
#[derive(Default)]
struct Login {
    user: Option<Box<str>>,
    password: Option<Secret>,
}

impl Login {
    /// Splits `rest` at its last `@`, so that a password may contain one, or a `/`. Neither a host nor
    /// what follows it can.
    fn split(rest: &str) -> Result<(Self, &str), String> {
        let Some((login, place)) = rest.rsplit_once('@') else {
            return Ok((Self::default(), rest));
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (login, None),
        };
        let password = match password {
            Some(text) => Some(Secret::new(&text).ok_or("has an empty password")?),
            None if user.is_empty() => return Err("has nothing before the @".to_owned()),
            None => None,
        };
        let user = decoded(user)?;
        let user = (!user.is_empty()).then(|| user.into());
        Ok((Self { user, password }, place))
    }

    fn at(self, servers: Servers, database: u32) -> EngineUrl {
        EngineUrl {
            servers,
            user: self.user,
            password: self.password,
            database,
        }
    }
}

/// Decodes `%40` and the like. A `%` that begins no such code is an error: it is not clear what it means.
fn decoded(text: &str) -> Result<String, String> {
    let is_code = |after: &str| {
        let code = after.as_bytes().get(..2);
        code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_code) {
        return Err("has a % that begins no percent-encoded byte; write %25".to_owned());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "has a user or password that is not UTF-8")?;
    Ok(decoded.into_owned())
}

fn database(number: &str) -> Result<u32, String> {
    let read = digits(number).and_then(|number| number.parse().ok());
    read.ok_or_else(|| "has a database that is not a number".to_owned())
}

/// Reads addresses with commas between them.
fn hosts_and_ports(text: &str, default_port: u16) -> Result<Vec<(Box<str>, u16)>, String> {
    let all = text.split(',');
    all.map(|one| host_and_port(one, default_port)).collect()
}

/// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host_and_port(text: &str, default_port: u16) -> Result<(Box<str>, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("has a [ without ]")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("has no IPv6 address between the brackets".to_owned());
        }
        (host, port)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        // Other characters are a mistake, and `_` is common in the names of containers.
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        if !host.chars().all(is_allowed) {
            return Err("has an invalid host".to_owned());
        }
        (host, port)
    };
    let port = match port {
        "" => default_port,
        port => {
            let number = port.strip_prefix(':').and_then(digits);
            let number = number.and_then(|number| number.parse().ok());
            let number = number.filter(|number| *number != 0);
            number.ok_or("has an invalid port (IPv6 addresses need brackets)")?
        }
    };
    Ok((host.into(), port))
}

/// `text`, if it has only digits: `parse` would accept a sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
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
        let is_signed_in = self.user.is_some() || self.password.is_some();
        let login = if is_signed_in {
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

fn addresses(all: &[(Box<str>, u16)]) -> String {
    let all = all.iter().map(|(host, port)| address(host, *port));
    all.collect::<Vec<_>>().join(",")
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_setting!(EngineUrl);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> EngineUrl {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn tcp(host: &str, port: u16, tls: bool) -> Servers {
        let host = host.into();
        Servers::Tcp { host, port, tls }
    }

    #[test]
    fn each_form_reads_as_documented() {
        let all = [
            ("redis://cache", tcp("cache", 6379, false), 0),
            ("redis://cache/", tcp("cache", 6379, false), 0),
            ("REDIS://cache_1:7000/3\n", tcp("cache_1", 7000, false), 3),
            ("rediss://10.0.0.1/1", tcp("10.0.0.1", 6379, true), 1),
            ("redis://[::1]", tcp("::1", 6379, false), 0),
            ("rediss://[fe80::1]:7000/0", tcp("fe80::1", 7000, true), 0),
            (
                "unix:///run/a b@c.sock",
                Servers::Unix("/run/a b@c.sock".into()),
                0,
            ),
            ("unix:///r.sock?db=15", Servers::Unix("/r.sock".into()), 15),
        ];
        for (text, servers, database) in all {
            let url = read(text);
            assert_eq!(
                (url.servers(), url.database()),
                (&servers, database),
                "{text}"
            );
            assert_eq!((url.user(), url.password()), (None, None), "{text}");
        }
        for (text, database, reads_replica) in [
            ("", 0, false),
            ("/", 0, false),
            ("/2", 2, false),
            ("/2?read=master", 2, false),
            ("/2?read=replica", 2, true),
            ("?read=replica", 0, true),
        ] {
            let url = read(&format!(
                "redis+sentinel://h1,[::2]:7,h3:26380/my-Master_1.x{text}"
            ));
            let sentinels = [("h1", 26379), ("::2", 7), ("h3", 26380)];
            let servers = Servers::Sentinel {
                sentinels: sentinels.map(|(host, port)| (host.into(), port)).into(),
                master: "my-Master_1.x".into(),
                reads_replica,
            };
            assert_eq!(
                (url.servers(), url.database()),
                (&servers, database),
                "{text}"
            );
        }
        for (scheme, tls) in [("redis+cluster", false), ("Rediss+Cluster", true)] {
            for end in ["", "/", "/0"] {
                let url = read(&format!("{scheme}://h1,[::2]:7000,h3:7001{end}"));
                let seeds = [("h1", 6379), ("::2", 7000), ("h3", 7001)];
                let seeds = seeds.map(|(host, port)| (host.into(), port)).into();
                let servers = Servers::Cluster { seeds, tls };
                assert_eq!((url.servers(), url.database()), (&servers, 0));
            }
        }
        assert_eq!(EngineUrl::default(), read("redis://127.0.0.1:6379/0"));
    }

    #[test]
    fn user_and_password_are_decoded() {
        for (login, user, password) in [
            ("me:hunter2", Some("me"), Some("hunter2")),
            (":hunter2", None, Some("hunter2")),
            ("me", Some("me"), None),
            ("m%40e:a%3Ab%2f%25%C3%BC", Some("m@e"), Some("a:b/%ü")),
            // As many people write them.
            ("me:a:b/c@d?e#f", Some("me"), Some("a:b/c@d?e#f")),
        ] {
            for rest in ["h:1/2", "[::1]"] {
                let url = read(&format!("rediss://{login}@{rest}"));
                let found = url.password().map(Secret::expose);
                assert_eq!((url.user(), found), (user, password), "{login}");
            }
            for lists in [
                "redis+sentinel://LOGIN@h1,h2/name",
                "redis+cluster://LOGIN@h1,h2",
            ] {
                let url = read(&lists.replace("LOGIN", login));
                let found = url.password().map(Secret::expose);
                assert_eq!((url.user(), found), (user, password), "{login}");
            }
        }
    }

    #[test]
    fn a_url_is_shown_without_its_login_and_reads_back_as_shown() {
        for (text, shown) in [
            (
                "redis://me:hunter2@cache",
                "redis://<redacted>@cache:6379/0",
            ),
            (
                "rediss://hunter2@[::1]/2",
                "rediss://<redacted>@[::1]:6379/2",
            ),
            (
                "redis+sentinel://:hunter2@h1,h2:7/m",
                "redis+sentinel://<redacted>@h1:26379,h2:7/m/0",
            ),
            (
                "redis+sentinel://h1/m/1?read=replica",
                "redis+sentinel://h1:26379/m/1?read=replica",
            ),
            (
                "redis+cluster://:hunter2@h1,h2:7/0",
                "redis+cluster://<redacted>@h1:6379,h2:7",
            ),
            ("rediss+cluster://h1", "rediss+cluster://h1:6379"),
            ("unix:///r.sock?db=0", "unix:///r.sock"),
            ("unix:///r.sock?db=1", "unix:///r.sock?db=1"),
        ] {
            let url = read(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(read(shown).servers(), url.servers());
            assert_eq!(url.of_log().to_string(), shown.replace("?read=replica", ""));
            assert_eq!(read(shown).database(), url.database());
        }
    }

    #[test]
    fn anything_else_is_rejected_with_the_form_and_without_a_password() {
        let long = format!("unix:///{}", "hunter2".repeat(16));
        for (text, problem) in [
            ("", "starts with none"),
            ("hunter2", "starts with none"),
            ("cache:6379", "starts with none"),
            ("http://me:hunter2@cache", "starts with none"),
            ("unix:/run/hunter2.sock", "starts with none"),
            ("redis://", "names no host"),
            ("redis://:hunter2@", "names no host"),
            ("redis://:hunter2@:6379", "names no host"),
            ("redis://:hunter2", "names no host"),
            ("redis://me:hunter2", "invalid port"),
            ("redis://me:hunter2/0", "invalid port"),
            ("redis://::1", "names no host"),
            ("redis://fe80::1", "brackets"),
            ("redis://cache:", "invalid port"),
            ("redis://cache:0", "invalid port"),
            ("redis://cache:+1", "invalid port"),
            ("redis://cache:65536", "invalid port"),
            ("redis://[::1", "[ without ]"),
            ("redis://[hunter2]", "no IPv6 address"),
            ("redis://[::1]6379", "invalid port"),
            ("redis://h1,h2", "invalid host"),
            ("redis://caché", "invalid host"),
            ("redis://cache?hunter2", "invalid host"),
            ("redis://cache/hunter2", "not a number"),
            ("redis://cache/-1", "not a number"),
            ("redis://cache/+1", "not a number"),
            ("redis://cache/4294967296", "not a number"),
            ("redis://cache/0/hunter2", "not a number"),
            ("redis://cache/0?password=hunter2", "not a number"),
            ("redis://@cache", "nothing before the @"),
            ("redis://:@cache", "an empty password"),
            ("redis://me:%20@cache", "an empty password"),
            ("redis://me:hunter2%@cache", "write %25"),
            ("redis://me:hunter2%zz@cache", "write %25"),
            ("redis://me:hunter2%4@cache", "write %25"),
            ("redis://me:hunter2%FF@cache", "not UTF-8"),
            ("unix://", "no absolute path"),
            ("unix://run/hunter2.sock", "no absolute path"),
            ("unix:///a\0", "no absolute path"),
            ("unix:///a?pass=hunter2", "other than ?db="),
            ("unix:///a?db=", "not a number"),
            (&long, "a path of 113 bytes"),
            ("redis+sentinel://h1", "name the master"),
            ("redis+sentinel://h1/", "name the master"),
            ("redis+sentinel://h1//0", "name the master"),
            ("redis+sentinel://h1/hunter 2", "name the master"),
            ("redis+sentinel://h1,,h2/m", "names no host"),
            ("redis+sentinel:///m", "names no host"),
            ("redis+sentinel://h1/m/hunter2", "not a number"),
            ("redis+sentinel://h1/m?hunter2", "other than ?read="),
            ("redis+sentinel://h1/m/0?read=hunter2", "other than ?read="),
            ("redis+sentinel://h1/m/0/hunter2", "not a number"),
            ("redis+cluster://:hunter2@h1,h2/1", "only number 0"),
            ("redis+cluster://h1/hunter2", "only number 0"),
            ("redis+cluster://h1/0/hunter2", "only number 0"),
            ("redis+cluster://", "names no host"),
            ("rediss+cluster://h1,,h2", "names no host"),
            ("redis+cluster://h1:hunter2", "invalid port"),
        ] {
            let error = text.parse::<EngineUrl>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(error.contains("://"), "{text}: {error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(
            scheme in "redis://|rediss://|unix://|redis\\+sentinel://|rediss?\\+cluster://|",
            rest: String,
        ) {
            let _ = format!("{scheme}{rest}").parse::<EngineUrl>();
        }
    }
}
