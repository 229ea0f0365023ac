//! What a server says of itself.

use std::collections::HashMap;

/// The first version with everything that the engine uses.
const LEAST: (u32, u32) = (7, 0);

/// The fields of INFO.
pub(super) struct Facts(HashMap<String, String>);

impl Facts {
    /// Reads the answer to INFO.
    pub(super) fn read(info: &str) -> Self {
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let owned = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Self(owned.collect())
    }

    fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Returns true if it takes writes.
    pub(super) fn is_master(&self) -> bool {
        self.field("role") == "master"
    }

    /// Returns true if it is part of a Redis Cluster.
    pub(super) fn is_clustered(&self) -> bool {
        self.field("cluster_enabled") == "1"
    }

    /// The replicas that receive what it writes.
    pub(super) fn replicas(&self) -> usize {
        let is_online = |(name, value): &(&String, &String)| {
            let number = name.strip_prefix("slave").unwrap_or_default();
            number.parse::<u32>().is_ok() && value.split(',').any(|it| it == "state=online")
        };
        self.0.iter().filter(is_online).count()
    }

    /// Its name and version.
    pub(super) fn version(&self) -> String {
        match self.field("valkey_version") {
            "" => format!("Redis {}", self.field("redis_version")),
            version => format!("Valkey {version}"),
        }
    }

    /// Returns true if it has everything that the engine uses: any Valkey does.
    pub(super) fn is_recent(&self) -> bool {
        if !self.field("valkey_version").is_empty() {
            return true;
        }
        let mut parts = self.field("redis_version").split('.');
        let mut part = || parts.next()?.parse::<u32>().ok();
        matches!((part(), part()), (Some(major), Some(minor)) if (major, minor) >= LEAST)
    }

    /// What it does when `maxmemory` is used up.
    pub(super) fn policy(&self) -> &str {
        self.field("maxmemory_policy")
    }

    /// Returns true if it writes each change to a file.
    pub(super) fn has_aof(&self) -> bool {
        self.field("aof_enabled") == "1"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (info, name, is_recent) in [
            ("redis_version:7.0.15\r\n", "Redis 7.0.15", true),
            ("redis_version:10.1\r\n", "Redis 10.1", true),
            ("redis_version:6.2.14\r\n", "Redis 6.2.14", false),
            ("redis_version:\r\n", "Redis ", false),
            (
                "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n",
                "Valkey 9.1.2",
                true,
            ),
        ] {
            let facts = Facts::read(info);
            assert_eq!((&*facts.version(), facts.is_recent()), (name, is_recent));
        }
    }

    #[test]
    fn only_replicas_that_are_online_count() {
        let facts = Facts::read(
            "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n\
             slave0:ip=10.0.0.1,port=6379,state=online,offset=1,lag=0\r\n\
             slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
             slave12:ip=10.0.0.3,port=6379,state=online,offset=1,lag=0\r\n\
             slave_read_only:state=online\r\n",
        );
        assert!(facts.is_master());
        assert_eq!(facts.replicas(), 2);
    }
}
