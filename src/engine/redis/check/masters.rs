//! What is checked in a Redis Cluster only: why nobody names the master of the log, and the masters of other keys.

use super::facts::Facts;
use super::server::{CheckedServer, user};
use super::unfit::Unfit;
use crate::config::Servers;
use crate::engine::finding::Finding;
use crate::engine::redis::cluster;
use crate::engine::redis::link::ServerAddress;
use crate::engine::redis::loss::Loss;
use crate::engine::redis::settings::RedisSettings;

/// The reason for which no server named the master of the log.
pub(super) async fn unresolved(settings: &RedisSettings, loss: Loss) -> Unfit {
    let Loss::Redis(error) = loss else {
        return Unfit::NoOwner;
    };
    let Servers::Cluster { seeds, tls } = &settings.servers else {
        return Unfit::NoOwner;
    };
    // The first server in the URL is tried again, because one of them has to be named.
    let Some(address) = cluster::addresses(seeds, *tls).into_iter().next() else {
        return Unfit::NoOwner;
    };
    if let Err(unfit) = CheckedServer::connect(settings, &address).await {
        return unfit;
    }
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        Some("NOPERM") => {
            let rights = "+cluster|slots +cluster|nodes".to_owned();
            Unfit::Rights(rights, user(settings).to_owned())
        }
        _ if detail.contains("cluster support disabled") => {
            Unfit::NotClustered(address.to_string())
        }
        _ => Unfit::Refusing(address.to_string(), error.to_string()),
    }
}

/// Checks a master of keys that do not belong to the log.
pub(super) async fn has_other_keys(
    settings: &RedisSettings,
    address: &ServerAddress,
    findings: &mut Vec<Finding>,
) -> Result<(), Unfit> {
    let mut server = CheckedServer::connect(settings, address).await?;
    let facts = server.facts().await?;
    findings.push(Finding::Good(format!(
        "connected to {address}, which has other keys"
    )));
    let key = format!("{}check", settings.prefix);
    server.permissions(&key, true, findings).await?;
    // The doubt about a missing right was told for the first server.
    let Some(facts) = facts else {
        return Ok(());
    };
    if !facts.is_master() {
        return Err(Unfit::Replica(address.to_string()));
    }
    if !facts.is_recent() {
        return Err(Unfit::Old(facts.version()));
    }
    findings.push(Finding::Good(facts.version()));
    findings.push(policy(&facts));
    Ok(())
}

fn policy(facts: &Facts) -> Finding {
    let policy = facts.policy();
    if policy == "noeviction" {
        return Finding::Good("maxmemory-policy is noeviction".to_owned());
    }
    Finding::Doubt(format!(
        "maxmemory-policy is {policy}: when the memory is used up, connections of users, tickets and login failures are forgotten (noeviction)"
    ))
}
