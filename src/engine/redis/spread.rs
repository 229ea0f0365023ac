//! A connection for the keys that do not belong to the log. A cluster spreads them over its servers.

use redis::{Cmd, FromRedisValue, RedisError, ScriptInvocation};

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
}
