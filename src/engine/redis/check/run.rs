//! What is checked, in which order.

use redis::RedisError;

use super::commands::{COMMANDS, Needed};
use super::facts::Facts;
use super::unfit::Unfit;
use crate::config::Config;
use crate::engine::finding::Finding;
use crate::engine::redis::keys::Keys;
use crate::engine::redis::link::{Link, Purpose, ServerAddress, is_refusal};
use crate::engine::redis::sentinel;
use crate::engine::redis::settings::RedisSettings;

/// Tries the configured server. Each result is added to `findings`.
///
/// # Errors
/// The first thing that keeps the engine from working.
pub(crate) async fn check(config: &Config, findings: &mut Vec<Finding>) -> Result<(), Unfit> {
    let settings = RedisSettings::of(config);
    let resolved = sentinel::resolve(&settings).await;
    let address = resolved.map_err(Unfit::unresolved)?;
    let link = Link::open(&address, Purpose::Ask, &settings).await;
    let link = link.map_err(|error| Unfit::of(&error, &address))?;
    let mut server = Server {
        user: settings.user.as_deref().unwrap_or("default"),
        prefix: &settings.prefix,
        address: &address,
        link,
    };
    let facts = server.facts().await?;
    findings.push(Finding::Good(format!(
        "connected to {address} as the user {}",
        server.user
    )));
    let Some(facts) = facts else {
        server.permissions(findings).await?;
        findings.push(Finding::Doubt(
            "without the right +info, the role, the version, maxmemory-policy, persistence and replicas cannot be checked"
                .to_owned(),
        ));
        return Ok(());
    };
    if !facts.is_master() {
        return Err(Unfit::Replica(address.to_string()));
    }
    findings.push(Finding::Good("it is a master".to_owned()));
    if !facts.is_recent() {
        return Err(Unfit::Old(facts.version()));
    }
    findings.push(Finding::Good(facts.version()));
    server.permissions(findings).await?;
    findings.push(policy(&facts)?);
    findings.push(server.persistence(&facts).await?);
    findings.push(replicas(&facts, settings.replicas));
    Ok(())
}

/// The server that is checked.
struct Server<'a> {
    user: &'a str,
    prefix: &'a str,
    address: &'a ServerAddress,
    link: Link,
}

impl Server<'_> {
    fn unfit(&self, error: &RedisError) -> Unfit {
        Unfit::of(error, self.address)
    }

    /// What the server says of itself; `None` if the user may not ask.
    async fn facts(&mut self) -> Result<Option<Facts>, Unfit> {
        match self.link.call::<String>(&redis::cmd("INFO")).await {
            Ok(info) => Ok(Some(Facts::read(&info))),
            Err(error) if error.code() == Some("NOPERM") || is_unknown(&error) => Ok(None),
            Err(error) => Err(self.unfit(&error)),
        }
    }

    /// Tries each command of the engine.
    async fn permissions(&mut self, findings: &mut Vec<Finding>) -> Result<(), Unfit> {
        let key = format!("{}:check", Keys::new(self.prefix).log);
        let mut missing: Vec<&Needed> = Vec::new();
        for needed in &COMMANDS {
            let tried = self.link.call::<redis::Value>(&needed.command(&key)).await;
            let Err(error) = tried else {
                continue;
            };
            let detail = error.detail().unwrap_or_default();
            match error.code() {
                Some("NOPERM") if detail.contains("permissions to run") => missing.push(needed),
                Some("NOPERM") => {
                    return Err(Unfit::Keys(self.prefix.to_owned(), self.user.to_owned()));
                }
                _ if is_unknown(&error) && needed.lacking.is_some() => missing.push(needed),
                _ if is_unknown(&error) => {
                    return Err(Unfit::NoCommand(needed.right.to_ascii_uppercase()));
                }
                // The arguments are wrong on purpose, the script does not exist, and the key may be anything.
                Some("ERR" | "NOSCRIPT" | "WRONGTYPE") => {}
                _ => return Err(self.unfit(&error)),
            }
        }
        let required = missing.iter().filter(|it| it.lacking.is_none());
        let rights: Vec<String> = required.map(|it| format!("+{}", it.right)).collect();
        if !rights.is_empty() {
            return Err(Unfit::Rights(rights.join(" "), self.user.to_owned()));
        }
        findings.push(Finding::Good(
            "the user has the necessary rights".to_owned(),
        ));
        for needed in missing {
            if let Some(lacking) = needed.lacking {
                let right = needed.right;
                findings.push(Finding::Doubt(format!(
                    "without the right +{right}, {lacking}"
                )));
            }
        }
        Ok(())
    }

    async fn persistence(&mut self, facts: &Facts) -> Result<Finding, Unfit> {
        if facts.has_aof() {
            return Ok(Finding::Good("it writes an AOF".to_owned()));
        }
        let mut asked = redis::cmd("CONFIG");
        asked.arg("GET").arg("save");
        let finding = match self.link.call::<Vec<String>>(&asked).await {
            Ok(save) if save.get(1).is_some_and(|points| !points.is_empty()) => {
                "it writes snapshots and no AOF, so a crash loses the events since the last one (appendonly yes)"
            }
            Ok(_) => {
                "it writes neither an AOF nor snapshots, so a restart loses all events (appendonly yes)"
            }
            Err(error) if is_refusal(&error) => {
                "it writes no AOF; without the right +config|get, it is unknown whether it writes snapshots (appendonly yes)"
            }
            Err(error) => return Err(self.unfit(&error)),
        };
        Ok(Finding::Doubt(finding.to_owned()))
    }
}

/// Returns true if the server does not have the command: some providers turn off a few.
fn is_unknown(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    detail.starts_with("unknown command")
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
