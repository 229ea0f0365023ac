//! The commands that the engine needs, each in a form that changes nothing.
//!
//! A server checks permissions, memory, replicas and its role before it looks at the arguments. So a command that
//! fails because of its arguments, or finds no key, was allowed.

use redis::Cmd;

/// A command of the engine.
pub(super) struct Needed {
    /// Its name in an ACL rule, without the `+`.
    pub(super) right: &'static str,
    arguments: &'static [&'static str],
    /// What the engine lacks without it; `None` if it does not work.
    pub(super) lacking: Option<&'static str>,
}

/// Stands for the key in the arguments.
const KEY: &str = "<key>";

const fn needed(right: &'static str, arguments: &'static [&'static str]) -> Needed {
    Needed {
        right,
        arguments,
        lacking: None,
    }
}

const fn useful(
    right: &'static str,
    arguments: &'static [&'static str],
    lacking: &'static str,
) -> Needed {
    Needed {
        right,
        arguments,
        lacking: Some(lacking),
    }
}

/// All commands of the engine and of its scripts. A write has an argument that makes it fail.
pub(super) const COMMANDS: [Needed; 27] = [
    needed(
        "evalsha",
        &["0000000000000000000000000000000000000000", "0"],
    ),
    needed("script|load", &["("]),
    needed("xadd", &[KEY, "no id", "e", ""]),
    needed("xread", &["COUNT", "1", "STREAMS", KEY, "0"]),
    needed("xrange", &[KEY, "-", "+", "COUNT", "1"]),
    needed("xrevrange", &[KEY, "+", "-", "COUNT", "1"]),
    needed("xtrim", &[KEY, "MAXLEN", "no number"]),
    needed("xinfo|stream", &[KEY]),
    needed("get", &[KEY]),
    needed("set", &[KEY, "", "PX", "no number"]),
    needed("getdel", &[KEY]),
    needed("del", &[KEY]),
    needed("exists", &[KEY]),
    needed("pexpire", &[KEY, "no number"]),
    needed("hget", &[KEY, "f"]),
    needed("hset", &[KEY, "f", "", "no pair"]),
    needed("hdel", &[KEY, "f"]),
    needed("hscan", &[KEY, "0"]),
    needed("hgetall", &[KEY]),
    needed("zadd", &[KEY, "no number", "m"]),
    needed("zrem", &[KEY, "m"]),
    needed("zrangebyscore", &[KEY, "0", "0"]),
    needed("time", &[]),
    needed("wait", &["0", "1"]),
    useful(
        "info",
        &["server"],
        "a change of servers behind one address may go unnoticed",
    ),
    useful("memory|usage", &[KEY], "engine.max_bytes has no effect"),
    useful(
        "client|setname",
        &["idlewild:check"],
        "CLIENT LIST does not show which node a connection belongs to",
    ),
];

/// The commands that are sent to the servers of a Redis Cluster only.
pub(super) const IN_A_CLUSTER: [Needed; 4] = [
    needed("cluster|slots", &[]),
    needed("cluster|nodes", &[]),
    needed("ping", &[]),
    needed("asking", &[]),
];

impl Needed {
    /// The command, on `key`.
    pub(super) fn command(&self, key: &str) -> Cmd {
        let mut command = Cmd::new();
        for word in self.right.split('|') {
            command.arg(word.to_ascii_uppercase());
        }
        for argument in self.arguments {
            command.arg(if *argument == KEY { key } else { argument });
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The upper-case words that follow one of `calls` in the files of `dir`.
    fn used(dir: &Path, calls: &[&str], all: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("check") {
                    used(&path, calls, all);
                }
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for call in calls {
                for after in text.split(call).skip(1) {
                    let word = after.chars().take_while(char::is_ascii_uppercase);
                    all.insert(word.collect::<String>().to_lowercase());
                }
            }
        }
    }

    #[test]
    fn the_list_has_each_command_of_the_engine_and_its_scripts() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/redis");
        let calls = ["redis.call('", "redis.pcall('", "cmd(\""];
        let mut used_there = BTreeSet::new();
        used(&dir, &calls, &mut used_there);
        // Sentinels are asked for the master, and have users of their own.
        assert!(used_there.remove("sentinel"), "{used_there:?}");
        // The crate runs each script by EVALSHA, and loads it if it is not known.
        used_there.extend(["evalsha".to_owned(), "script".to_owned()]);
        // The crate checks its connections to a cluster, and follows keys that are being moved.
        used_there.extend(["ping".to_owned(), "asking".to_owned()]);
        let listed = COMMANDS
            .iter()
            .chain(&IN_A_CLUSTER)
            .map(|it| it.right.split('|').next().unwrap());
        let listed: BTreeSet<_> = listed.map(str::to_owned).collect();
        assert_eq!(used_there, listed);
    }
}
