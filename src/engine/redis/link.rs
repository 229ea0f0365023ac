//! One connection to the store. It never reconnects by itself: a new connection may reach another server, and
//! nothing may be read from it or written to it before the node knows what that server has.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates,
};

use super::settings::RedisSettings;

/// Longest time for a connection to be made, with TLS and authentication.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the response to a command that does not block.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Both times for a server that is asked about others: those may be waiting for it.
const WATCH_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest time that a read of the log blocks.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// What a connection is for. It is in the connection's name, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading the log. The server blocks it.
    Read,
    /// Appending. The server blocks it while replicas are waited for.
    Write,
    /// Everything else.
    Ask,
    /// Keys that do not belong to the log.
    Spread,
    /// Asking a server of a cluster what it knows of the others.
    Watch,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Ask => "ask",
            Self::Spread => "spread",
            Self::Watch => "watch",
        }
    }

    fn connect_timeout(self) -> Duration {
        match self {
            Self::Read | Self::Write | Self::Ask | Self::Spread => CONNECT_TIMEOUT,
            Self::Watch => WATCH_TIMEOUT,
        }
    }

    fn response_timeout(self) -> Duration {
        match self {
            Self::Read => BLOCK + RESPONSE_TIMEOUT,
            Self::Write | Self::Ask | Self::Spread => RESPONSE_TIMEOUT,
            Self::Watch => WATCH_TIMEOUT,
        }
    }
}

/// The address of a server that takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerAddress {
    Tcp {
        host: String,
        port: u16,
        is_tls: bool,
    },
    Unix(std::path::PathBuf),
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A connection, and what it is for. Clones share it.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
}

impl Link {
    /// Connects, authenticates, and names the connection.
    pub(super) async fn open(
        address: &ServerAddress,
        purpose: Purpose,
        settings: &RedisSettings,
    ) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(purpose.connect_timeout()))
            .set_response_timeout(Some(purpose.response_timeout()));
        let client = client(address, settings)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let mut link = Self {
            connection: connection.await?,
        };
        let name = format!("idlewild:{}:{}", settings.node, purpose.label());
        // For operators only, so a server that does not allow it may refuse.
        let mut set_name = redis::cmd("CLIENT");
        set_name.arg("SETNAME").arg(name);
        if let Err(error) = link.call::<()>(&set_name).await
            && !is_refusal(&error)
        {
            return Err(error);
        }
        Ok(link)
    }

    /// Sends a command and waits for its response.
    pub(super) async fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(&mut self.connection).await
    }

    /// Returns true if the server's process has this name, or does not tell: behind one address there can be several
    /// servers.
    pub(super) async fn is_to(&mut self, run: &str) -> Result<bool, RedisError> {
        if run.is_empty() {
            return Ok(true);
        }
        let info = self.call::<String>(redis::cmd("INFO").arg("server")).await;
        let info = match info {
            Err(error) if is_refusal(&error) => String::new(),
            info => info?,
        };
        let found = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(found.unwrap_or_default().trim() == run)
    }

    /// The connection, for a script.
    pub(super) fn connection(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}

/// Returns true if the server answered, but with an error.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}

fn client(address: &ServerAddress, settings: &RedisSettings) -> Result<Client, RedisError> {
    let info = connection_info(address, settings)?;
    if matches!(address, ServerAddress::Tcp { is_tls: true, .. }) {
        return Client::build_with_tls(info, certificates(settings));
    }
    Client::open(info)
}

/// Where and as whom to connect.
pub(super) fn connection_info(
    address: &ServerAddress,
    settings: &RedisSettings,
) -> Result<ConnectionInfo, RedisError> {
    let server = match address {
        ServerAddress::Tcp {
            host,
            port,
            is_tls: false,
        } => ConnectionAddr::Tcp(host.clone(), *port),
        ServerAddress::Tcp { host, port, .. } => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
        ServerAddress::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    // The name of the library would take a right of its own, which Redis 7.0 does not know.
    let mut login = RedisConnectionInfo::default()
        .set_db(i64::from(settings.database))
        .set_skip_set_lib_name();
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    Ok(server.into_connection_info()?.set_redis_settings(login))
}

/// The authorities that may have signed a server's certificate.
pub(super) fn certificates(settings: &RedisSettings) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: settings.ca.clone(),
    }
}
