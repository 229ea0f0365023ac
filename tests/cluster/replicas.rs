//! A master with replicas and Sentinels.

use std::net::SocketAddr;

use crate::proxy::Proxy;
use crate::redis::{Options, Redis};
use crate::sentinel::Sentinels;
use crate::support::eventually;

/// How the servers and their clients reach each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Links {
    Direct,
    /// Every server is known to all others, to the Sentinels and to the nodes by the address of a proxy.
    Proxied,
}

/// Server 0 is the master at first.
pub struct Replicated {
    servers: Vec<Server>,
    pub sentinels: Sentinels,
}

struct Server {
    redis: Redis,
    proxy: Option<Proxy>,
}

impl Replicated {
    /// Starts a master with this many replicas, and waits until all of them follow.
    pub fn start(replicas: usize, options: &Options, links: Links) -> Self {
        // A replica receives its data at once, without a file.
        let options = options
            .clone()
            .set("repl-diskless-sync yes\nrepl-diskless-sync-delay 0\nrepl-diskless-load swapdb");
        let servers: Vec<Server> = (0..=replicas)
            .map(|_| Server::start(&options, links))
            .collect();
        let (master, followers) = servers.split_first().unwrap();
        for follower in followers {
            follower.replicate(master.address());
        }
        for follower in followers {
            eventually("the replica follows", || {
                follower.redis.info("master_link_status").as_deref() == Some("up")
            });
        }
        let sentinels = Sentinels::start(master.address(), replicas, options.default_password());
        Self { servers, sentinels }
    }

    /// The URL for nodes.
    pub fn url(&self) -> String {
        self.sentinels.url()
    }

    pub fn server(&self, number: usize) -> &Redis {
        &self.servers[number].redis
    }

    pub fn server_mut(&mut self, number: usize) -> &mut Redis {
        &mut self.servers[number].redis
    }

    /// The proxy in front of a server; only with [`Links::Proxied`].
    pub fn proxy(&self, number: usize) -> &Proxy {
        self.servers[number].proxy.as_ref().expect("proxied links")
    }

    /// The number of the master, according to the Sentinels.
    pub fn master(&self) -> usize {
        let address = self.sentinels.master();
        let is_it = |server: &Server| server.address() == address;
        self.servers.iter().position(is_it).expect("a known server")
    }

    /// Replicas receive what the master gets from now on later; see [`Proxy::delay_replication`].
    pub fn delay_replication(&self, delay: std::time::Duration) {
        for server in 0..self.servers.len() {
            self.proxy(server).delay_replication(delay);
        }
    }

    /// Makes the Sentinels replace the master, which still works, and returns the number of the new one.
    pub fn failover(&self) -> usize {
        let old = self.master();
        self.sentinels.failover(self.servers[old].address());
        self.wait_for_another_master(old)
    }

    /// Kills the master and returns its number.
    pub fn kill_master(&mut self) -> usize {
        let master = self.master();
        self.servers[master].redis.kill();
        master
    }

    /// Stops the master without ending it, and returns its number.
    pub fn pause_master(&self) -> usize {
        let master = self.master();
        self.servers[master].redis.pause();
        master
    }

    /// Waits until the Sentinels have replaced this master, and returns the number of the new one.
    pub fn wait_for_another_master(&self, old: usize) -> usize {
        let mut new = old;
        eventually("another master", || {
            new = self.master();
            new != old && self.servers[new].redis.info("role").as_deref() == Some("master")
        });
        new
    }

    /// Waits until this many replicas follow the current master.
    pub fn wait_for_replicas(&self, number: usize) {
        let number = number.to_string();
        eventually("the replicas follow", || {
            let master = &self.servers[self.master()].redis;
            master.info("connected_slaves").as_ref() == Some(&number)
        });
    }
}

impl Server {
    fn start(options: &Options, links: Links) -> Self {
        let redis = Redis::start(options.clone());
        let proxy = (links == Links::Proxied).then(|| Proxy::start(redis.address()));
        let server = Self { redis, proxy };
        let (ip, port) = (server.address().ip(), server.address().port());
        for (name, value) in [
            ("replica-announce-ip", ip.to_string()),
            ("replica-announce-port", port.to_string()),
        ] {
            server.redis.command::<()>(&["CONFIG", "SET", name, &value]);
        }
        server.redis.command::<()>(&["CONFIG", "REWRITE"]);
        server
    }

    /// The address by which the others know it.
    fn address(&self) -> SocketAddr {
        let address = self.proxy.as_ref().map(|proxy| proxy.address);
        address.unwrap_or_else(|| self.redis.address())
    }

    fn replicate(&self, master: SocketAddr) {
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        self.redis.command::<()>(&["REPLICAOF", &ip, &port]);
        self.redis.command::<()>(&["CONFIG", "REWRITE"]);
    }
}

mod tests {
    use std::time::Duration;

    use super::{Links, Replicated};
    use crate::redis::Options;
    use crate::support::eventually;

    #[test]
    fn sentinels_replace_a_master_that_was_killed_and_it_comes_back_as_a_replica() {
        let mut redis = Replicated::start(2, &Options::in_memory(), Links::Direct);
        redis.server(0).command::<()>(&["SET", "key", "value"]);
        for replica in 1..3 {
            eventually("the replica has the value", || {
                let value: Option<String> = redis.server(replica).command(&["GET", "key"]);
                value.is_some()
            });
        }
        let old = redis.kill_master();
        assert_eq!(old, 0);
        let new = redis.wait_for_another_master(old);
        let value: String = redis.server(new).command(&["GET", "key"]);
        assert_eq!(value, "value");
        redis.server_mut(old).start_again();
        redis.wait_for_replicas(2);
    }

    #[test]
    fn sentinels_replace_a_paused_master_behind_its_proxy() {
        let redis = Replicated::start(2, &Options::in_memory(), Links::Proxied);
        redis.delay_replication(Duration::from_secs(3_600));
        redis.server(0).command::<()>(&["SET", "key", "lost"]);
        let old = redis.pause_master();
        let new = redis.wait_for_another_master(old);
        let value: Option<String> = redis.server(new).command(&["GET", "key"]);
        assert_eq!(value, None);
        for server in 0..3 {
            redis.proxy(server).pass();
        }
        redis.server(old).resume();
        redis.wait_for_replicas(2);
    }

    #[test]
    fn a_master_is_replaced_on_request() {
        let redis = Replicated::start(1, &Options::in_memory().password("secret"), Links::Direct);
        assert_eq!(redis.failover(), 1);
        redis.wait_for_replicas(1);
        assert_eq!(redis.master(), 1);
    }
}
