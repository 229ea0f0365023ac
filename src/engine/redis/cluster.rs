//! The master of a Redis Cluster that has the log. The servers are asked for it, and followed when another one takes
//! over: waiting for an error would go on with the old master as long as it answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::RedisError;
use tokio::task::JoinSet;

use super::link::{Link, Purpose, ServerAddress};
use super::loss::Loss;
use super::settings::RedisSettings;
use super::topology::{LogOwner, View};
use crate::clock::Clock;

/// Most servers that are asked at once. More would only say the same.
const MAX_ASKED: usize = 16;
/// Most servers that are watched.
const MAX_WATCHED: usize = 5;
/// Time between questions to a server that is watched.
const POLL: Duration = Duration::from_millis(500);
/// Time until another server is watched instead of one that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// A Redis Cluster, as far as this node knows it.
pub(super) struct Cluster {
    settings: Arc<RedisSettings>,
    seeds: Vec<ServerAddress>,
    learnt: Mutex<Learnt>,
}

#[derive(Default)]
struct Learnt {
    servers: Vec<ServerAddress>,
    masters: usize,
    owner: Option<LogOwner>,
}

impl Cluster {
    /// A cluster of which only the servers in the configuration are known.
    pub(super) fn new(seeds: Vec<ServerAddress>, settings: RedisSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            seeds,
            learnt: Mutex::default(),
        }
    }

    /// The address of the log's master, at this moment.
    pub(super) async fn resolve(&self) -> Result<ServerAddress, Loss> {
        let mut asked = JoinSet::new();
        for address in self.some_servers() {
            let settings = Arc::clone(&self.settings);
            asked.spawn(async move {
                let mut link = Link::open(&address, Purpose::Watch, &settings).await?;
                view(&mut link, &address).await
            });
        }
        let mut newest: Option<View> = None;
        let mut failed = None;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(view)) if newest.as_ref().is_none_or(|it| it.epoch() <= view.epoch()) => {
                    newest = Some(view);
                }
                Ok(Err(error)) => failed = Some(error),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        let Some(view) = newest else {
            return Err(failed.map_or(Loss::NoOwner, Loss::Redis));
        };
        let owner = view.owner.clone();
        *self.learnt.lock() = Learnt {
            servers: view.servers,
            masters: view.masters,
            owner: view.owner,
        };
        owner.map(|owner| owner.address).ok_or(Loss::NoOwner)
    }

    /// Ends when another server has taken the log over from the one that was found last.
    pub(super) async fn follow(&self, real: &Clock) -> Result<Infallible, Loss> {
        let Some(owner) = self.learnt.lock().owner.clone() else {
            return std::future::pending().await;
        };
        // The master itself is the last one to know.
        let mut others = self.servers();
        others.retain(|address| *address != owner.address);
        let others: Arc<[ServerAddress]> = others.into();
        let mut watched = JoinSet::new();
        for first in 0..others.len().min(MAX_WATCHED) {
            let (others, owner) = (Arc::clone(&others), owner.clone());
            let (settings, real) = (Arc::clone(&self.settings), real.clone());
            watched.spawn(async move {
                for number in (first..).step_by(MAX_WATCHED) {
                    let address = &others[number % others.len()];
                    if let Ok(()) = takeover(address, &owner, &settings, &real).await {
                        return;
                    }
                    real.sleep(RETRY).await;
                }
            });
        }
        // The first to tell is enough.
        match watched.join_next().await {
            Some(_) => Err(Loss::TakenOver),
            None => std::future::pending().await,
        }
    }

    /// The masters, as of the last answer.
    pub(super) fn masters(&self) -> Vec<ServerAddress> {
        let learnt = self.learnt.lock();
        learnt
            .servers
            .iter()
            .take(learnt.masters)
            .cloned()
            .collect()
    }

    /// All servers that are known.
    fn servers(&self) -> Vec<ServerAddress> {
        let mut all = self.learnt.lock().servers.clone();
        for seed in &self.seeds {
            if !all.contains(seed) {
                all.push(seed.clone());
            }
        }
        all
    }

    /// Not always the same ones: some may be gone.
    fn some_servers(&self) -> Vec<ServerAddress> {
        let mut all = self.servers();
        fastrand::shuffle(&mut all);
        all.truncate(MAX_ASKED);
        all
    }
}

/// The servers at these hosts and ports.
pub(super) fn addresses(hosts: &[(Box<str>, u16)], is_tls: bool) -> Vec<ServerAddress> {
    let address = |(host, port): &(Box<str>, u16)| ServerAddress::Tcp {
        host: host.to_string(),
        port: *port,
        is_tls,
    };
    hosts.iter().map(address).collect()
}

impl View {
    /// `None` is lower than any epoch.
    fn epoch(&self) -> Option<u64> {
        self.owner.as_ref().map(|owner| owner.epoch)
    }
}

/// Asks a server again and again, until it says that another one has taken over. An error is a server that does not
/// answer.
async fn takeover(
    address: &ServerAddress,
    owner: &LogOwner,
    settings: &RedisSettings,
    real: &Clock,
) -> Result<(), RedisError> {
    let mut link = Link::open(address, Purpose::Watch, settings).await?;
    loop {
        let view = view(&mut link, address).await?;
        if view.owner.is_some_and(|now| now.has_taken_over(owner)) {
            return Ok(());
        }
        real.sleep(POLL).await;
    }
}

/// What the server at `address` says of the cluster.
async fn view(link: &mut Link, address: &ServerAddress) -> Result<View, RedisError> {
    let slots = link.call(redis::cmd("CLUSTER").arg("SLOTS")).await?;
    let nodes: String = link.call(redis::cmd("CLUSTER").arg("NODES")).await?;
    View::read(slots, &nodes, address)
}
