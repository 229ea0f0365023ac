//! A replica that the log is read from instead of the master, so that many nodes do not use up the master's processor.
//!
//! Each node is still compared with the master, and writes to it. A replica is used only while it
//! has the master's own history: Redis names a history, and gives it another name wherever it may have forked. Each read
//! asks for the name again after its entries, so none is taken from another history. As a replica's history ends at most
//! where the master's does, a node that changes between the two reads on after its last entry.
//!
//! Going over to a replica, and back to the master, is up to the [reader](super::reader).

use std::convert::Infallible;
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::core::{Attached, Core};
use super::entries::entries;
use super::link::{Link, Purpose, ServerAddress, is_refusal};
use super::loss::Loss;
use super::resolve::Resolver;
use super::settings::RedisSettings;
use crate::clock::millis;

/// Time between attempts to find a replica, while there is none.
const RETRY: Duration = Duration::from_secs(2);
/// The oldest that the newest beat on a replica may be when it is chosen. Beats are a second apart.
const MAX_BEAT_AGE: Duration = Duration::from_secs(2);
/// Most bytes by which a replica may be behind the master when it is chosen. It then has to catch up faster than it
/// falls behind, or it is left again.
const MAX_BEHIND_BYTES: u64 = 1 << 20;

/// A connection to a replica for reading the log.
pub(super) struct Replica {
    link: Link,
    history: Box<str>,
    pub(super) address: ServerAddress,
}

impl Replica {
    /// Sends commands that read from the log, and returns their responses. Fails if the replica may have answered from
    /// another history than the master's.
    pub(super) async fn read(&mut self, mut commands: Pipeline) -> Result<Vec<Value>, Loss> {
        commands.add_command(info());
        let mut responses: Vec<Value> = commands.query_async(self.link.connection()).await?;
        let info = responses.pop().unwrap_or(Value::Nil);
        let Role {
            is_master, history, ..
        } = Role::read(&redis::from_redis_value::<String>(info).map_err(RedisError::from)?);
        if is_master || history != self.history {
            return Err(Loss::NotItsReplica);
        }
        Ok(responses)
    }
}

/// Replicas for a reader that asks for them.
pub(super) struct Replicas {
    wanted: mpsc::Sender<Duration>,
    found: mpsc::Receiver<Replica>,
}

/// What finds them.
pub(super) struct Search {
    wanted: mpsc::Receiver<Duration>,
    found: mpsc::Sender<Replica>,
}

impl Replicas {
    /// A reader's end and the search's. The search is to [run](Search::run) beside the reader.
    pub(super) fn new() -> (Self, Search) {
        let (wanted, asked) = mpsc::channel(1);
        let (finder, found) = mpsc::channel(1);
        let search = Search {
            wanted: asked,
            found: finder,
        };
        (Self { wanted, found }, search)
    }

    /// Asks for a replica. The search begins after `pause`.
    pub(super) fn want_after(&self, pause: Duration) {
        // If it is full, the search has been asked already.
        let _ = self.wanted.try_send(pause);
    }

    /// A replica that was asked for, if it was found.
    pub(super) fn take(&mut self) -> Option<Replica> {
        self.found.try_recv().ok()
    }
}

impl Search {
    /// Looks for a replica whenever the reader wants one, if the settings say so.
    pub(super) async fn run(
        mut self,
        core: &Core,
        resolver: &Resolver,
        attached: &Attached,
    ) -> Result<Infallible, Loss> {
        if !core.settings.reads_replica {
            return std::future::pending().await;
        }
        while let Some(pause) = self.wanted.recv().await {
            core.real.sleep(pause).await;
            let found = loop {
                match find(core, resolver, attached).await {
                    Ok(Some(found)) => break found,
                    Ok(None) => core.real.sleep(RETRY).await,
                    Err(error) if is_refusal(&error) => {
                        tracing::warn!(%error, "the master does not describe its replication; reading the log from it");
                        return std::future::pending().await;
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            if self.found.send(found).await.is_err() {
                break;
            }
        }
        // The reader has ended, and says why.
        std::future::pending().await
    }
}

/// One of the replicas that can be used now.
async fn find(
    core: &Core,
    resolver: &Resolver,
    attached: &Attached,
) -> Result<Option<Replica>, RedisError> {
    let mut master = attached.ask.clone();
    let beats = Beats {
        key: core.keys.beat.clone(),
        since_ms: core.store_unix_ms().saturating_sub(millis(MAX_BEAT_AGE)),
    };
    let (master, mut usable) = usable(&core.settings, resolver, &mut master, Some(beats)).await?;
    if usable.is_empty() {
        return Ok(None);
    }
    // Any of them, so that the nodes spread.
    let address = usable.swap_remove(fastrand::usize(..usable.len()));
    // It may have failed meanwhile, which is no reason to give the master up.
    let found = open(address, &master, &core.settings).await;
    let found = found.inspect_err(|error| tracing::debug!(%error, "a replica cannot be used"));
    Ok(found.ok().flatten())
}

/// Connects to a replica for reading; `None` if it does not have the master's history any more.
async fn open(
    address: ServerAddress,
    master: &Role,
    settings: &RedisSettings,
) -> Result<Option<Replica>, RedisError> {
    let mut link = Link::open(&address, Purpose::Read, settings).await?;
    let said: String = link.call(&info()).await?;
    let role = Role::read(&said);
    Ok(role.follows(master).then_some(Replica {
        link,
        history: role.history,
        address,
    }))
}

/// Beats that a replica needs to have.
#[derive(Clone)]
pub(super) struct Beats {
    key: String,
    /// The newest has to be from then or later, in the store's Unix milliseconds.
    since_ms: u64,
}

/// What `master` says of itself, and the addresses of the replicas that can be used now.
pub(super) async fn usable(
    settings: &RedisSettings,
    resolver: &Resolver,
    master: &mut Link,
    beats: Option<Beats>,
) -> Result<(Role, Vec<ServerAddress>), RedisError> {
    let addresses = resolver.replicas().await;
    let said: String = master.call(&info()).await?;
    let master = Role::read(&said);
    let mut asked = JoinSet::new();
    for address in addresses {
        let (master, settings, beats) = (master.clone(), settings.clone(), beats.clone());
        asked.spawn(async move {
            let found = is_usable(&address, &master, &settings, beats.as_ref()).await;
            let found = found
                .inspect_err(|error| tracing::debug!(%error, %address, "a replica cannot be used"));
            found.unwrap_or(false).then_some(address)
        });
    }
    let answers = asked.join_all().await;
    Ok((master, answers.into_iter().flatten().collect()))
}

/// Returns true if a server is a replica that has the master's history almost to its end.
async fn is_usable(
    address: &ServerAddress,
    master: &Role,
    settings: &RedisSettings,
    beats: Option<&Beats>,
) -> Result<bool, RedisError> {
    let mut link = Link::open(address, Purpose::Watch, settings).await?;
    let said: String = link.call(&info()).await?;
    if !Role::read(&said).follows(master) {
        return Ok(false);
    }
    // A master that cannot be reached counts as connected for a minute.
    let Some(beats) = beats else {
        return Ok(true);
    };
    let mut newest = redis::cmd("XREVRANGE");
    newest.arg(&beats.key).arg(&["+", "-", "COUNT", "1"]);
    let newest = entries(link.call(&newest).await?)?;
    Ok(newest
        .first()
        .is_some_and(|beat| beat.id.ms >= beats.since_ms))
}

fn info() -> Cmd {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    info
}

/// What a server says of its part in replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Role {
    is_master: bool,
    /// Names the sequence of writes that it has, or is getting.
    history: Box<str>,
    /// How much of it the server has, in bytes.
    offset: u64,
    is_linked: bool,
}

impl Role {
    fn read(info: &str) -> Self {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(':').map(str::trim)
        };
        let is_master = field("role") == Some("master");
        let offset = if is_master {
            "master_repl_offset"
        } else {
            "slave_repl_offset"
        };
        Self {
            is_master,
            history: field("master_replid").unwrap_or_default().into(),
            offset: field(offset)
                .and_then(|offset| offset.parse().ok())
                .unwrap_or(0),
            is_linked: field("master_link_status") == Some("up"),
        }
    }

    /// Returns true if it is a replica that has `master`'s history almost to its end.
    fn follows(&self, master: &Self) -> bool {
        !self.is_master
            && self.is_linked
            && master.is_master
            && !self.history.is_empty()
            && self.history == master.history
            && self.offset.saturating_add(MAX_BEHIND_BYTES) >= master.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(link: &str, history: &str, offset: u64) -> Role {
        Role::read(&format!(
            "# Replication\r\nrole:slave\r\nmaster_link_status:{link}\r\nslave_repl_offset:{offset}\r\n\
             master_replid:{history}\r\nmaster_repl_offset:1\r\n"
        ))
    }

    #[test]
    fn a_replica_is_used_only_with_the_masters_history_and_not_far_behind() {
        const OFFSET: u64 = 5_000_000;
        let master = Role::read(&format!(
            "role:master\r\nconnected_slaves:1\r\nmaster_replid:abc\r\nmaster_replid2:def\r\n\
             master_repl_offset:{OFFSET}\r\n"
        ));
        assert!(replica("up", "abc", OFFSET).follows(&master));
        assert!(replica("up", "abc", OFFSET + 10).follows(&master));
        assert!(replica("up", "abc", OFFSET - MAX_BEHIND_BYTES).follows(&master));
        for other in [
            replica("up", "abc", OFFSET - MAX_BEHIND_BYTES - 1),
            replica("up", "def", OFFSET),
            replica("down", "abc", OFFSET),
            master.clone(),
        ] {
            assert!(!other.follows(&master), "{other:?}");
        }
        // A master that was demoted meanwhile, and a server that says nothing.
        assert!(!replica("up", "abc", OFFSET).follows(&replica("up", "abc", OFFSET)));
        assert!(!Role::read("").follows(&master));
        assert!(!Role::read("").follows(&Role::read("role:master")));
    }
}
