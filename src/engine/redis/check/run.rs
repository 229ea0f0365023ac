//! What is checked, in which order.

use super::facts::Facts;
use super::masters;
use super::server::CheckedServer;
use super::unfit::Unfit;
use crate::config::Config;
use crate::engine::finding::Finding;
use crate::engine::redis::keys::Keys;
use crate::engine::redis::link::ServerAddress;
use crate::engine::redis::resolve::Resolver;
use crate::engine::redis::settings::RedisSettings;

/// Tries the configured server. Each result is added to `findings`.
///
/// # Errors
/// The first thing that keeps the engine from working.
pub(crate) async fn check(config: &Config, findings: &mut Vec<Finding>) -> Result<(), Unfit> {
    let settings = RedisSettings::of(config);
    let resolver = Resolver::new(&settings);
    let address = match (resolver.resolve().await, &resolver) {
        (Ok(address), _) => address,
        (Err(loss), Resolver::Cluster(_)) => {
            return Err(masters::unresolved(&settings, loss).await);
        }
        (Err(loss), _) => return Err(Unfit::unresolved(loss)),
    };
    let mut server = CheckedServer::connect(&settings, &address).await?;
    has_log(&mut server, &settings, &resolver, findings).await?;
    if settings.reads_replica {
        findings.push(read_source(
            server.replicas_to_read(&settings, &resolver).await?,
        ));
    }
    if let Resolver::Cluster(cluster) = &resolver {
        for other in cluster.masters().iter().filter(|it| **it != address) {
            masters::has_other_keys(&settings, other, findings).await?;
        }
    }
    Ok(())
}

/// Checks the server that has the log.
async fn has_log(
    server: &mut CheckedServer<'_>,
    settings: &RedisSettings,
    resolver: &Resolver,
    findings: &mut Vec<Finding>,
) -> Result<(), Unfit> {
    let address = server.address;
    let facts = server.facts().await?;
    findings.push(Finding::Good(format!(
        "connected to {address} as the user {}",
        server.user
    )));
    let is_clustered = matches!(resolver, Resolver::Cluster(_));
    let key = format!("{}:check", Keys::new(&settings.prefix).log);
    let Some(facts) = facts else {
        server.permissions(&key, is_clustered, findings).await?;
        findings.push(Finding::Doubt(
            "without the right +info, the role, the version, maxmemory-policy, persistence and replicas cannot be checked"
                .to_owned(),
        ));
        return Ok(());
    };
    if !facts.is_master() {
        return Err(Unfit::Replica(address.to_string()));
    }
    if facts.is_clustered() && !is_clustered {
        return Err(Unfit::Clustered(address.to_string()));
    }
    findings.push(Finding::Good(if is_clustered {
        "it is the master that has the log".to_owned()
    } else {
        "it is a master".to_owned()
    }));
    if !facts.is_recent() {
        return Err(Unfit::Old(facts.version()));
    }
    findings.push(Finding::Good(facts.version()));
    server.permissions(&key, is_clustered, findings).await?;
    findings.push(policy(&facts)?);
    findings.push(server.persistence(&facts).await?);
    findings.push(replicas(&facts, settings.replicas));
    if is_clustered {
        findings.extend(server.coverage().await?);
    }
    Ok(())
}

/// Says where nodes would read the log.
fn read_source(usable: Option<Vec<ServerAddress>>) -> Finding {
    let Some(usable) = usable else {
        return Finding::Doubt(
            "without the right +info, nodes cannot compare replicas with the master, and will read from the master"
                .to_owned(),
        );
    };
    let usable: Vec<String> = usable.iter().map(ToString::to_string).collect();
    if usable.is_empty() {
        Finding::Doubt(
            "no replica can be read from, so nodes will read from the master: none is healthy, or none has the master's history"
                .to_owned(),
        )
    } else {
        Finding::Good(format!("nodes will read from {}", usable.join(" or ")))
    }
}

fn policy(facts: &Facts) -> Result<Finding, Unfit> {
    let policy = facts.policy();
    if policy.starts_with("allkeys-") {
        return Err(Unfit::Policy(policy.to_owned()));
    }
    if policy.starts_with("volatile-") {
        return Ok(Finding::Doubt(format!(
            "maxmemory-policy is {policy}: when the memory is used up, the publishers' ids are evicted, and a retry may publish an event twice (noeviction)"
        )));
    }
    Ok(Finding::Good(format!("maxmemory-policy is {policy}")))
}

fn replicas(facts: &Facts, wanted: u32) -> Finding {
    let online = facts.replicas();
    let connected = match online {
        1 => "1 replica is connected".to_owned(),
        online => format!("{online} replicas are connected"),
    };
    if wanted as usize > online {
        return Finding::Doubt(format!(
            "engine.replicas is {wanted}, but {connected}: publishing will answer 503"
        ));
    }
    Finding::Good(connected)
}
