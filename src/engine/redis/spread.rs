//! A connection for the keys that do not belong to the log. A cluster spreads them over its servers.

use redis::aio::ConnectionLike;
use redis::cluster::{ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    Arg, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, Script,
    ScriptInvocation, ServerErrorKind, Value,
};
use tokio::task::JoinSet;

use super::cluster;
use super::link::{self, CONNECT_TIMEOUT, Link, Purpose, RESPONSE_TIMEOUT, ServerAddress};
use super::settings::RedisSettings;
use crate::config::Servers;

/// How often a request to a cluster is sent again, to the server that it was directed to or on a new connection.
const CLUSTER_RETRIES: u32 = 3;

/// A connection to whichever server has a key. Clones share it.
///
/// On a single server, it is given up together with the others. On a cluster, it connects by itself, again and again,
/// so that the log does not depend on all servers. Until then, each call waits, and fails after [`RESPONSE_TIMEOUT`].
/// A call whose connection to the cluster is lost is sent again, so it may run twice.
#[derive(Clone)]
pub(super) enum Spread {
    /// All keys are on one server.
    One(Link),
    /// The keys are on all masters of a cluster.
    Cluster(ClusterConnection),
}

impl Spread {
    /// Connects to the server at `address`, or to the cluster that it belongs to.
    pub(super) async fn open(
        address: &ServerAddress,
        settings: &RedisSettings,
    ) -> Result<Self, RedisError> {
        let Servers::Cluster { seeds, tls } = &settings.servers else {
            let link = Link::open(address, Purpose::Spread, settings).await?;
            return Ok(Self::One(link));
        };
        let mut addresses = cluster::addresses(seeds, *tls);
        addresses.push(address.clone());
        let servers: Result<Vec<_>, _> = addresses
            .iter()
            .map(|address| link::connection_info(address, settings))
            .collect();
        let mut builder = ClusterClientBuilder::new(servers?)
            .retries(CLUSTER_RETRIES)
            // With all attempts; otherwise each would have that time.
            .overall_response_timeout(Some(RESPONSE_TIMEOUT));
        if *tls {
            builder = builder.certs(link::certificates(settings));
        }
        let config = ClusterConfig::new()
            .set_connection_timeout(CONNECT_TIMEOUT)
            .set_response_timeout(RESPONSE_TIMEOUT);
        let client = builder.build()?;
        let cluster = client.get_pending_async_connection_with_config(config);
        Ok(Self::Cluster(cluster))
    }

    /// Keeps the connection to a single server in use, because Redis closes connections that are idle for longer than
    /// its `timeout`. Fails if it is lost. A connection to a cluster is made again by itself.
    pub(super) async fn keep(&self) -> Result<(), RedisError> {
        match self {
            Self::One(link) => link
                .clone()
                .call::<Value>(&redis::cmd("TIME"))
                .await
                .map(drop),
            Self::Cluster(_) => Ok(()),
        }
    }

    /// Most keys that one call of a script may have. In a cluster they are on different servers.
    pub(super) fn max_keys(&self) -> usize {
        match self {
            Self::One(_) => usize::MAX,
            Self::Cluster(_) => 1,
        }
    }

    /// Returns true if the other connections do not depend on this one.
    pub(super) fn is_separate(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends a command with one key, and waits for its response.
    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::One(link) => link.clone().call(command).await,
            Self::Cluster(cluster) => command.query_async(&mut cluster.clone()).await,
        }
    }

    /// Runs a script with one key.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        match self {
            Self::One(link) => call.invoke_async(link.clone().connection()).await,
            Self::Cluster(cluster) => {
                let mut server = ToOneServer::of(cluster);
                let result = call.invoke_async(&mut server).await;
                if !is_unknown_script(&result) {
                    return result;
                }
                // The key moves to another master at the moment. The next attempt tells if loading has failed.
                let _ = call.load_async(&mut cluster.clone()).await;
                call.invoke_async(&mut server).await
            }
        }
    }

    /// Runs `script` once for each of `calls`, all of which are calls of it with up to [`Spread::max_keys`] keys. To a
    /// single server, they are sent together. Each has its own result, in the order of `calls`.
    pub(super) async fn run_all<T: FromRedisValue>(
        &self,
        script: &Script,
        calls: &[ScriptInvocation<'_>],
    ) -> Vec<Result<T, RedisError>> {
        let results = match self {
            Self::One(link) => run_all_on_one(&mut link.clone(), script, calls).await,
            Self::Cluster(cluster) => run_all_on_cluster(cluster, script, calls).await,
        };
        // A response that is not a `T` fails its own call, and not the others.
        let read = |result: Result<Value, RedisError>| Ok(T::from_redis_value(result?)?);
        results.into_iter().map(read).collect()
    }
}

async fn run_all_on_one(
    link: &mut Link,
    script: &Script,
    calls: &[ScriptInvocation<'_>],
) -> Vec<Result<Value, RedisError>> {
    let mut results = send_all(link, calls.iter()).await;
    let unknown: Vec<usize> = (0..calls.len())
        .filter(|&index| is_unknown_script(&results[index]))
        .collect();
    if unknown.is_empty() {
        return results;
    }
    // The server has just been started, or its scripts were flushed.
    let again = match script.load_async(link.connection()).await {
        Ok(_) => send_all(link, unknown.iter().map(|&index| &calls[index])).await,
        Err(error) => unknown.iter().map(|_| Err(error.clone())).collect(),
    };
    for (index, result) in unknown.into_iter().zip(again) {
        results[index] = result;
    }
    results
}

/// Sends `calls` in one write. Returns as many results.
async fn send_all<'a>(
    link: &mut Link,
    calls: impl ExactSizeIterator<Item = &'a ScriptInvocation<'a>>,
) -> Vec<Result<Value, RedisError>> {
    let count = calls.len();
    if count == 0 {
        return Vec::new();
    }
    let mut pipeline = Pipeline::with_capacity(count);
    for call in calls {
        pipeline.invoke_script(call);
    }
    let sent = pipeline.ignore_errors().query_async(link.connection());
    let results: Result<Vec<Result<Value, RedisError>>, RedisError> = sent.await;
    let error = match results {
        Ok(results) if results.len() == count => return results,
        Ok(_) => no_response(),
        Err(error) => error,
    };
    vec![error; count].into_iter().map(Err).collect()
}

async fn run_all_on_cluster(
    cluster: &ClusterConnection,
    script: &Script,
    calls: &[ScriptInvocation<'_>],
) -> Vec<Result<Value, RedisError>> {
    // A pipeline only serves to get the commands.
    let mut commands = redis::pipe();
    for call in calls {
        commands.invoke_script(call);
    }
    let mut loads = redis::pipe();
    loads.load_script(script);
    let mut running = JoinSet::new();
    for (index, call) in commands.cmd_iter().cloned().enumerate() {
        let (cluster, loads) = (cluster.clone(), loads.clone());
        running.spawn(async move { (index, run_command(cluster, call, &loads).await) });
    }
    let mut results: Vec<Result<Value, RedisError>> =
        calls.iter().map(|_| Err(no_response())).collect();
    while let Some(ended) = running.join_next().await {
        if let Ok((index, result)) = ended {
            results[index] = result;
        }
    }
    results
}

/// Sends the call of a script. `loads` is the command that loads it.
async fn run_command(
    mut cluster: ClusterConnection,
    call: Cmd,
    loads: &Pipeline,
) -> Result<Value, RedisError> {
    let mut server = ToOneServer::of(&cluster);
    let mut result = call.query_async(&mut server).await;
    for load in loads.cmd_iter() {
        // The next attempt tells if loading has failed.
        if is_unknown_script(&result) {
            // The master has just been promoted.
            let _ = load.query_async::<Value>(&mut server).await;
            result = call.query_async(&mut server).await;
        }
        if is_unknown_script(&result) {
            // The key moves to another master at the moment.
            let _ = load.query_async::<Value>(&mut cluster).await;
            result = call.query_async(&mut server).await;
        }
    }
    result
}

fn is_unknown_script<T>(result: &Result<T, RedisError>) -> bool {
    let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
    matches!(result, Err(error) if error.kind() == unknown)
}

fn no_response() -> RedisError {
    let kind = ErrorKind::UnexpectedReturnType;
    (kind, "there are not as many responses as calls").into()
}

/// Sends calls of a script to the server that has the key, and then the script itself, too. By default, a script would
/// be sent to all masters, and fail if one of them is down.
struct ToOneServer {
    cluster: ClusterConnection,
    /// Where the last call of a script went.
    to: Option<RoutingInfo>,
}

impl ToOneServer {
    fn of(cluster: &ClusterConnection) -> Self {
        Self {
            cluster: cluster.clone(),
            to: None,
        }
    }
}

impl ConnectionLike for ToOneServer {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        if let Some(key) = key_of_call(command) {
            let route = Route::with_key(key, SlotAddr::Master);
            let to = SingleNodeRoutingInfo::SpecificNode(route);
            self.to = Some(RoutingInfo::SingleNode(to));
        }
        match &self.to {
            Some(to) => Box::pin(self.cluster.route_command(command.clone(), to.clone())),
            None => self.cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.cluster.req_packed_commands(commands, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.cluster.get_db()
    }
}

/// The key of `EVALSHA <hash> <number of keys> <key> …`.
fn key_of_call(command: &Cmd) -> Option<&[u8]> {
    let mut arguments = command.args_iter();
    let Some(Arg::Simple(b"EVALSHA")) = arguments.next() else {
        return None;
    };
    match arguments.nth(2) {
        Some(Arg::Simple(key)) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
