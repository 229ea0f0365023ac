//! A connection for the keys that do not belong to the log. A cluster spreads them over its servers.

use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation, ServerErrorKind,
};

use super::link::{Link, Purpose, ServerAddress};
use super::settings::RedisSettings;

/// A connection to whichever server has a key. Clones share it.
#[derive(Clone)]
pub(super) struct Spread {
    link: Link,
}

impl Spread {
    /// Connects to the server at `address`.
    pub(super) async fn open(
        address: &ServerAddress,
        settings: &RedisSettings,
    ) -> Result<Self, RedisError> {
        let link = Link::open(address, Purpose::Spread, settings).await?;
        Ok(Self { link })
    }

    /// Sends a command with one key, and waits for its response.
    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.link.clone().call(command).await
    }

    /// Runs a script with one key.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        call.invoke_async(self.link.clone().connection()).await
    }

    /// Runs `script` once for each of `calls`, all of which are calls of it with one key. They are sent together.
    /// Each has its own result, in the order of `calls`.
    pub(super) async fn run_all<T: FromRedisValue>(
        &self,
        script: &Script,
        calls: &[ScriptInvocation<'_>],
    ) -> Vec<Result<T, RedisError>> {
        let mut link = self.link.clone();
        let mut results = send_all(&mut link, calls.iter()).await;
        let unknown: Vec<usize> = (0..calls.len())
            .filter(|&index| is_unknown_script(&results[index]))
            .collect();
        if unknown.is_empty() {
            return results;
        }
        // The server has just been started, or its scripts were flushed.
        let again = match script.load_async(link.connection()).await {
            Ok(_) => send_all(&mut link, unknown.iter().map(|&index| &calls[index])).await,
            Err(error) => unknown.iter().map(|_| Err(error.clone())).collect(),
        };
        for (index, result) in unknown.into_iter().zip(again) {
            results[index] = result;
        }
        results
    }
}

/// Sends `calls` in one write. Returns as many results.
async fn send_all<'a, T: FromRedisValue>(
    link: &mut Link,
    calls: impl ExactSizeIterator<Item = &'a ScriptInvocation<'a>>,
) -> Vec<Result<T, RedisError>> {
    let count = calls.len();
    if count == 0 {
        return Vec::new();
    }
    let mut pipeline = redis::Pipeline::with_capacity(count);
    for call in calls {
        pipeline.invoke_script(call);
    }
    let sent = link.connection();
    // A response that is not a `T` fails its own call, and not the others.
    let values: Result<Vec<Result<redis::Value, RedisError>>, RedisError> =
        pipeline.ignore_errors().query_async(sent).await;
    match values {
        Ok(values) if values.len() == count => values
            .into_iter()
            .map(|value| Ok(T::from_redis_value(value?)?))
            .collect(),
        Ok(_) => {
            let error = RedisError::from((
                ErrorKind::UnexpectedReturnType,
                "there are not as many responses as calls",
            ));
            vec![error; count].into_iter().map(Err).collect()
        }
        Err(error) => vec![error; count].into_iter().map(Err).collect(),
    }
}

fn is_unknown_script<T>(result: &Result<T, RedisError>) -> bool {
    let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
    matches!(result, Err(error) if error.kind() == unknown)
}
