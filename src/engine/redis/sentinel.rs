//! The master that Sentinels watch. They are asked for its address, and followed when they choose another one: waiting for an error would go on with the old master as long as it answers.

use std::convert::Infallible;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::link::{self, ServerAddress};
use super::loss::Loss;
use crate::clock::Clock;
use crate::config::Secret;

/// Longest time for a Sentinel to answer.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Time until a lost subscription is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The event of a new master.
const SWITCH: &str = "+switch-master";

/// A Sentinel's answer: the address, and how many times a master was chosen.
type Master = (u64, ServerAddress);

/// The Sentinels that watch a master.
pub(super) struct Sentinels {
    all: Vec<Sentinel>,
    master: Box<str>,
}

/// One of them.
#[derive(Clone)]
struct Sentinel {
    host: String,
    port: u16,
    /// Redis' own password. A Sentinel gets it if it asks for one.
    password: Option<Secret>,
}

impl Sentinels {
    /// The Sentinels at these hosts and ports, which call the master by this name. They get `password` if they ask for
    /// one.
    pub(super) fn new(
        addresses: &[(Box<str>, u16)],
        master: Box<str>,
        password: Option<&Secret>,
    ) -> Self {
        let sentinel = |(host, port): &(Box<str>, u16)| Sentinel {
            host: host.to_string(),
            port: *port,
            password: password.cloned(),
        };
        Self {
            all: addresses.iter().map(sentinel).collect(),
            master,
        }
    }

    /// The address of the master, at this moment.
    pub(super) async fn resolve(&self) -> Result<ServerAddress, Loss> {
        let mut answers: Vec<Master> = Vec::new();
        let mut failed = None;
        for answer in self.ask_all::<Vec<String>>("MASTER").await {
            match answer {
                Ok(Some(fields)) => answers.extend(master(&Fields(&fields))),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        // A Sentinel that was cut off may still name the old master. The one that knows of the latest choice is
        // right.
        let newest = answers.into_iter().max_by_key(|(epoch, _)| *epoch);
        let unknown = || Loss::NoMaster(self.master.clone());
        newest
            .map(|(_, address)| address)
            .ok_or_else(|| failed.map_or_else(unknown, Loss::Redis))
    }

    /// The addresses of the replicas that a Sentinel considers healthy.
    pub(super) async fn replicas(&self) -> Vec<ServerAddress> {
        let mut all = Vec::new();
        for replicas in self.ask_all::<Vec<Vec<String>>>("REPLICAS").await {
            for fields in replicas.ok().flatten().into_iter().flatten() {
                let replica = Fields(&fields);
                if let Some(address) = replica.address()
                    && replica.is_well()
                    && !all.contains(&address)
                {
                    all.push(address);
                }
            }
        }
        all
    }

    /// Asks all Sentinels about the master. `None` is the answer of one that does not know it.
    async fn ask_all<T: FromRedisValue + Send + 'static>(
        &self,
        question: &'static str,
    ) -> Vec<Result<Option<T>, RedisError>> {
        let mut asked = JoinSet::new();
        for sentinel in &self.all {
            let (sentinel, name) = (sentinel.clone(), self.master.clone());
            asked.spawn(async move { sentinel.ask(question, &name).await });
        }
        asked.join_all().await
    }

    /// Ends when the Sentinels have chosen another master.
    pub(super) async fn follow(&self, real: &Clock) -> Result<Infallible, Loss> {
        let mut followed = JoinSet::new();
        for sentinel in &self.all {
            let (sentinel, real) = (sentinel.clone(), real.clone());
            let name = self.master.clone();
            followed.spawn(async move {
                loop {
                    if let Ok(()) = sentinel.until_switch(&name).await {
                        return;
                    }
                    real.sleep(RETRY).await;
                }
            });
        }
        // The first to tell is enough.
        followed.join_next().await;
        Err(Loss::Switched)
    }
}

impl Sentinel {
    async fn ask<T: FromRedisValue>(
        &self,
        question: &str,
        name: &str,
    ) -> Result<Option<T>, RedisError> {
        let config = config();
        let mut connection = self.connect(ProtocolVersion::RESP2, &config).await?;
        let asked = redis::cmd("SENTINEL")
            .arg(question)
            .arg(name)
            .query_async(&mut connection)
            .await;
        match asked {
            // It does not watch a master of this name.
            Err(error) if link::is_refusal(&error) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Waits for its message that `name` has another master. An error is a lost subscription.
    async fn until_switch(&self, name: &str) -> Result<(), RedisError> {
        let (pushed, mut messages) = mpsc::unbounded_channel::<PushInfo>();
        let config = config().set_push_sender(pushed);
        let mut connection = self.connect(ProtocolVersion::RESP3, &config).await?;
        connection.subscribe(SWITCH).await?;
        while let Some(PushInfo { kind, data }) = messages.recv().await {
            match kind {
                PushKind::Message if is_about(&data, name) => return Ok(()),
                PushKind::Disconnection => break,
                _ => {}
            }
        }
        Err((redis::ErrorKind::Io, "the subscription ended").into())
    }

    async fn connect(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        // One without a password refuses a login, so it is asked without one first.
        let wants_login = |error: &RedisError| error.code() == Some("NOAUTH");
        let connection = match self.open(protocol, config, None).await {
            Ok(mut connection) => {
                let ping = redis::cmd("PING");
                match ping.query_async::<Value>(&mut connection).await {
                    Err(error) if wants_login(&error) => Err(error),
                    _ => Ok(connection),
                }
            }
            Err(error) => Err(error),
        };
        match (connection, &self.password) {
            (Err(error), Some(password)) if wants_login(&error) => {
                self.open(protocol, config, Some(password)).await
            }
            (connection, _) => connection,
        }
    }

    /// Sentinels have no databases, and their users are not the servers'.
    async fn open(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
        password: Option<&Secret>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut login = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_skip_set_lib_name();
        if let Some(password) = password {
            login = login.set_password(password.expose());
        }
        let info = ConnectionAddr::Tcp(self.host.clone(), self.port)
            .into_connection_info()?
            .set_redis_settings(login);
        let client = Client::open(info)?;
        client
            .get_multiplexed_async_connection_with_config(config)
            .await
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT))
}

fn master(fields: &Fields<'_>) -> Option<Master> {
    let epoch = fields.get("config-epoch").and_then(|it| it.parse().ok());
    Some((epoch.unwrap_or(0), fields.address()?))
}

/// What a Sentinel says of a server: names, each followed by its value.
struct Fields<'a>(&'a [String]);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.chunks_exact(2).find(|pair| pair[0] == name)?;
        Some(&pair[1])
    }

    fn address(&self) -> Option<ServerAddress> {
        Some(ServerAddress::Tcp {
            host: self.get("ip")?.to_owned(),
            port: self.get("port")?.parse().ok()?,
            is_tls: false,
        })
    }

    /// Returns true if it is a replica that can be reached, and has a connection to its master.
    fn is_well(&self) -> bool {
        const UNWELL: [&str; 3] = ["s_down", "o_down", "disconnected"];
        let flags = self.get("flags").unwrap_or_default();
        self.get("master-link-status") == Some("ok")
            && flags.split(',').any(|flag| flag == "slave")
            && !flags.split(',').any(|flag| UNWELL.contains(&flag))
    }
}

/// The text of a message is `<name> <old address> <old port> <new address> <new port>`.
fn is_about(data: &[Value], name: &str) -> bool {
    let Some(Value::BulkString(text)) = data.last() else {
        return false;
    };
    let text = String::from_utf8_lossy(text);
    text.split(' ').next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_well_if_it_can_be_reached_and_reaches_its_master() {
        for (flags, link, is_well) in [
            ("slave", "ok", true),
            ("slave", "err", false),
            ("slave,s_down", "ok", false),
            ("s_down,slave,disconnected", "ok", false),
            ("master", "ok", false),
        ] {
            let fields = ["flags", flags, "master-link-status", link].map(str::to_owned);
            assert_eq!(Fields(&fields).is_well(), is_well, "{flags} {link}");
        }
    }

    #[test]
    fn only_messages_about_the_own_master_count() {
        let message = |text: &str| {
            vec![
                Value::BulkString(SWITCH.into()),
                Value::BulkString(text.into()),
            ]
        };
        assert!(is_about(&message("main 127.0.0.1 1 127.0.0.1 2"), "main"));
        assert!(!is_about(&message("main2 127.0.0.1 1 127.0.0.1 2"), "main"));
        assert!(!is_about(&[Value::Nil], "main"));
    }
}
