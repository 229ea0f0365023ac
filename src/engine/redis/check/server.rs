//! One server that is checked.

use redis::RedisError;

use super::commands::{COMMANDS, IN_A_CLUSTER, Needed};
use super::facts::Facts;
use super::unfit::Unfit;
use crate::engine::finding::Finding;
use crate::engine::redis::link::{Link, Purpose, ServerAddress, is_refusal};
use crate::engine::redis::replica;
use crate::engine::redis::resolve::Resolver;
use crate::engine::redis::settings::RedisSettings;

/// The server that is checked.
pub(super) struct CheckedServer<'a> {
    pub(super) user: &'a str,
    prefix: &'a str,
    pub(super) address: &'a ServerAddress,
    link: Link,
}

impl<'a> CheckedServer<'a> {
    /// Connects as the engine does.
    pub(super) async fn connect(
        settings: &'a RedisSettings,
        address: &'a ServerAddress,
    ) -> Result<Self, Unfit> {
        let link = Link::open(address, Purpose::Ask, settings).await;
        let link = link.map_err(|error| Unfit::of(&error, address))?;
        Ok(Self {
            user: user(settings),
            prefix: &settings.prefix,
            address,
            link,
        })
    }

    fn unfit(&self, error: &RedisError) -> Unfit {
        Unfit::of(error, self.address)
    }

    /// What the server says of itself; `None` if the user may not ask.
    pub(super) async fn facts(&mut self) -> Result<Option<Facts>, Unfit> {
        match self.link.call::<String>(&redis::cmd("INFO")).await {
            Ok(info) => Ok(Some(Facts::read(&info))),
            Err(error) if error.code() == Some("NOPERM") || is_unknown(&error) => Ok(None),
            Err(error) => Err(self.unfit(&error)),
        }
    }

    /// Tries each command of the engine, on `key`.
    pub(super) async fn permissions(
        &mut self,
        key: &str,
        is_clustered: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Unfit> {
        let mut missing: Vec<&Needed> = Vec::new();
        let more: &[Needed] = if is_clustered { &IN_A_CLUSTER } else { &[] };
        for needed in COMMANDS.iter().chain(more) {
            let tried = self.link.call::<redis::Value>(&needed.command(key)).await;
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
                // The user's rights are looked at before the slot of the key is.
                Some("MOVED") if is_clustered => {}
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

    /// A doubt if the log depends on all masters.
    pub(super) async fn coverage(&mut self) -> Result<Option<Finding>, Unfit> {
        let mut asked = redis::cmd("CONFIG");
        asked.arg("GET").arg("cluster-require-full-coverage");
        let doubt = "cluster-require-full-coverage is yes: if any master is down and has no replica, the log is down, too (no)";
        match self.link.call::<Vec<String>>(&asked).await {
            Ok(setting) if setting.get(1).is_some_and(|it| it == "yes") => {
                Ok(Some(Finding::Doubt(doubt.to_owned())))
            }
            Err(error) if !is_refusal(&error) => Err(self.unfit(&error)),
            // The engine does without this right.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// The replicas that nodes would read the log from; `None` if the user may not compare them with this master.
    pub(super) async fn replicas_to_read(
        &mut self,
        settings: &RedisSettings,
        resolver: &Resolver,
    ) -> Result<Option<Vec<ServerAddress>>, Unfit> {
        match replica::usable(settings, resolver, &mut self.link, None).await {
            Ok((_, usable)) => Ok(Some(usable)),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(self.unfit(&error)),
        }
    }

    pub(super) async fn persistence(&mut self, facts: &Facts) -> Result<Finding, Unfit> {
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

/// The user's name at the server.
pub(super) fn user(settings: &RedisSettings) -> &str {
    settings.user.as_deref().unwrap_or("default")
}

/// Returns true if the server does not have the command: some providers turn off a few.
fn is_unknown(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    detail.starts_with("unknown command")
}
