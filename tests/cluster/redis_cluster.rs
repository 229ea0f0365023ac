//! A Redis Cluster of three masters, and replicas of the one that has the log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::common::real_time::now;
use crate::redis::{Options, Redis};
use crate::support::eventually;

/// The slots of the masters. The first has the slot of the keys with `{log}`.
const SLOTS: [(&str, &str); 3] = [("5461", "10922"), ("0", "5460"), ("10923", "16383")];
/// Time without an answer after which the others take a server for dead.
const NODE_TIMEOUT_MS: u32 = 1_000;
/// Longer than Redis tries a failover that was asked for, which is 5 s.
const FAILOVER_TRY: Duration = Duration::from_secs(6);

/// Server 0 has the log at first. The last ones are its replicas.
pub struct RedisCluster {
    servers: Vec<Redis>,
}

/// A line of `CLUSTER NODES`.
struct Member {
    id: String,
    address: SocketAddr,
    is_master: bool,
    has_failed: bool,
    /// Its id is not known yet.
    is_new: bool,
    /// The master of a replica.
    master: String,
    slots: Vec<String>,
}

impl RedisCluster {
    /// Starts the servers, and waits until all of them know each other and the replicas follow.
    pub fn start(replicas: usize, options: &Options) -> Self {
        let options = options
            .clone()
            .clustered()
            .set(format!("cluster-node-timeout {NODE_TIMEOUT_MS}"))
            .set("cluster-require-full-coverage no")
            .set("repl-diskless-sync yes\nrepl-diskless-sync-delay 0\nrepl-diskless-load swapdb");
        let number = SLOTS.len() + replicas;
        let servers = (0..number).map(|_| Redis::start(options.clone()));
        let cluster = Self {
            servers: servers.collect(),
        };
        for (epoch, server) in (1..).zip(&cluster.servers) {
            let epoch: i32 = epoch;
            let words = ["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()];
            server.command::<()>(&words);
        }
        for ((first, last), server) in SLOTS.iter().zip(&cluster.servers) {
            server.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for other in &cluster.servers[1..] {
            let (ip, port) = (other.address().ip(), other.address().port());
            let (ip, bus) = (ip.to_string(), (port ^ 1).to_string());
            let words = ["CLUSTER", "MEET", &ip, &port.to_string(), &bus];
            cluster.servers[0].command::<()>(&words);
        }
        for server in &cluster.servers {
            eventually("a server knows all others", || {
                let members = members(server);
                let is_known = |member: &Member| !member.is_new && !member.has_failed;
                let with_slots = members.iter().filter(|member| !member.slots.is_empty());
                members.len() == number
                    && members.iter().all(is_known)
                    && with_slots.count() == SLOTS.len()
                    && info(server)["cluster_state"] == "ok"
            });
        }
        let master: String = cluster.servers[0].command(&["CLUSTER", "MYID"]);
        for replica in &cluster.servers[SLOTS.len()..] {
            replica.command::<()>(&["CLUSTER", "REPLICATE", &master]);
        }
        for server in &cluster.servers {
            eventually("all servers know the replicas", || {
                let members = members(server);
                let follow = members.iter().filter(|member| member.master == master);
                follow.count() == replicas
            });
        }
        cluster.wait_for_replicas(replicas);
        cluster
    }

    /// The URL for nodes, which names one server that stays.
    pub fn url(&self) -> String {
        self.url_as("")
    }

    /// The same with a user: `name:password@`.
    pub fn url_as(&self, login: &str) -> String {
        format!("redis+cluster://{login}{}", self.servers[1].address())
    }

    pub fn server(&self, number: usize) -> &Redis {
        &self.servers[number]
    }

    pub fn server_mut(&mut self, number: usize) -> &mut Redis {
        &mut self.servers[number]
    }

    /// The number of the master that has the log, according to a server that has other keys.
    pub fn master(&self) -> usize {
        let mut master = None;
        eventually("somebody has the log", || {
            master = self.known_master();
            master.is_some()
        });
        master.unwrap()
    }

    /// The same, or `None` while a failover is under way: the old master may already be known to be a replica before
    /// the new one has announced its slots.
    fn known_master(&self) -> Option<usize> {
        let slots = format!("{}-{}", SLOTS[0].0, SLOTS[0].1);
        let members = members(&self.servers[1]);
        let master = members
            .iter()
            .find(|member| member.is_master && member.slots.contains(&slots))?;
        Some(self.number_at(master.address))
    }

    /// Kills the master that has the log, and returns its number.
    pub fn kill_master(&mut self) -> usize {
        let master = self.master();
        self.servers[master].kill();
        master
    }

    /// Stops the master that has the log without ending it, and returns its number.
    pub fn pause_master(&self) -> usize {
        let master = self.master();
        self.servers[master].pause();
        master
    }

    /// Waits until another server has the log, and returns its number.
    pub fn wait_for_another_master(&self, old: usize) -> usize {
        let mut new = old;
        eventually("another master has the log", || {
            new = self.known_master().unwrap_or(old);
            new != old
        });
        new
    }

    /// Makes a replica take over from the master of the log, which still works. A replica that cannot reach its master
    /// for a moment refuses to, and one that does not get everything in time gives up; then it is asked again.
    pub fn failover(&self) -> usize {
        let old = self.master();
        let mut new = old;
        let mut asked = None;
        eventually("a replica takes over", || {
            new = self.known_master().unwrap_or(old);
            if new == old && asked.is_none_or(|asked| now() - asked > FAILOVER_TRY) {
                let replica = self.replica(&members(&self.servers[1]));
                let begun = replica.map(|it| it.try_command::<()>(&["CLUSTER", "FAILOVER"]));
                asked = begun.is_some_and(|it| it.is_ok()).then(now);
            }
            new != old
        });
        new
    }

    /// Makes a replica take over from the master of the log, which does not get to know it and goes on. Returns the
    /// number of the new one.
    pub fn take_over_in_secret(&self) -> usize {
        let old = self.master();
        let members = members(&self.servers[1]);
        for other in &members {
            if other.address != self.servers[old].address() {
                self.servers[old].command::<()>(&["CLUSTER", "FORGET", &other.id]);
            }
        }
        let replica = self.replica(&members).expect("a replica");
        replica.command::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
        self.wait_for_another_master(old)
    }

    /// Waits until this many replicas follow the master of the log.
    pub fn wait_for_replicas(&self, number: usize) {
        eventually("the replicas follow", || {
            let master = &self.servers[self.master()];
            let online = (0..number).filter(|replica| {
                let replica = master.info(&format!("slave{replica}"));
                replica.is_some_and(|it| it.contains("state=online"))
            });
            online.count() == number
        });
    }

    fn replica(&self, members: &[Member]) -> Option<&Redis> {
        let replica = members
            .iter()
            .find(|member| !member.is_master && !member.has_failed)?;
        Some(&self.servers[self.number_at(replica.address)])
    }

    fn number_at(&self, address: SocketAddr) -> usize {
        let is_it = |server: &Redis| server.address() == address;
        self.servers.iter().position(is_it).expect("a known server")
    }
}

fn info(server: &Redis) -> HashMap<String, String> {
    let text: String = server.command(&["CLUSTER", "INFO"]);
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn members(server: &Redis) -> Vec<Member> {
    let text: String = server.command(&["CLUSTER", "NODES"]);
    text.lines().map(Member::read).collect()
}

impl Member {
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let (address, _) = fields[1].split_once('@').expect("a bus port");
        let flags: Vec<&str> = fields[2].split(',').collect();
        Self {
            id: fields[0].to_owned(),
            address: address.parse().expect("an address"),
            is_master: flags.contains(&"master"),
            has_failed: flags.contains(&"fail"),
            is_new: flags.contains(&"handshake"),
            master: fields[3].to_owned(),
            slots: fields[8..]
                .iter()
                .map(|slots| (*slots).to_owned())
                .collect(),
        }
    }
}
