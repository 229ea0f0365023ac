//! The store of the servers under test, which `IDLEWILD_CONTRACT=redis` selects: one Redis for all tests of this
//! process, with a prefix for each server. `IDLEWILD_CONTRACT_URL` is another store, such as a Redis Cluster.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use idlewild::config::{Config, EngineKind};

use super::{eventually, transport};

static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);

/// A Redis server that only listens on a Unix socket.
struct Redis {
    socket: PathBuf,
    /// Ends the server when this process ends, and its end of the pipe with it.
    _shell: Child,
}

impl Redis {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        let socket = directory.join("redis.sock");
        let script = "redis-server --port 0 --unixsocket \"$0/redis.sock\" --save '' --dir \"$0\" >/dev/null &
            cat >/dev/null; kill $!; wait; rm -rf \"$0\"";
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(&directory)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        eventually(
            "Redis listens (if there is no redis-server: apt-get install redis-server)",
            || std::os::unix::net::UnixStream::connect(&socket).is_ok(),
        );
        Self {
            socket,
            _shell: shell,
        }
    }
}

/// The URL of the store, and a prefix that no other server has.
fn own() -> (String, String) {
    static SERVERS: AtomicU32 = AtomicU32::new(0);
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let given = std::env::var("IDLEWILD_CONTRACT_URL").ok();
    let url = given.unwrap_or_else(|| format!("unix://{}", REDIS.socket.display()));
    // A store that was given may have been used before.
    let process = std::process::id();
    (url, format!("test-{process}-{number}:"))
}

/// Gives a server the store of this test run, unless the test is about another one.
pub fn choose(config: &mut Config) {
    if transport::is_redis() && config.history.path.is_none() {
        let (url, prefix) = own();
        config.engine.kind = EngineKind::Redis;
        config.engine.url = url.parse().unwrap();
        config.engine.prefix = prefix;
    }
}

/// The same for a configuration file.
pub fn with_store(file: &str) -> String {
    let has_own = ["[engine]", "engine.", "history.path", "[history]"]
        .iter()
        .any(|key| file.contains(key));
    if !transport::is_redis() || has_own {
        return file.to_owned();
    }
    let (url, prefix) = own();
    format!("{file}\n[engine]\nkind = \"redis\"\nurl = \"{url}\"\nprefix = \"{prefix}\"\n")
}
