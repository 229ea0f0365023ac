//! A node is upgraded: another process takes its streams, its name and its places over.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::common::admin::Admin;
use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::redis_cluster::RedisCluster;
use crate::scenarios::presence::{complete, count};
use crate::support::transport::Address;
use crate::support::{API_KEY, Client, NOTIFICATIONS, SECRET, Stream, eventually, process};

const USER: &str = "42";
const LIMIT: usize = 5;
/// Upgrades with a kill of one process: after so many milliseconds.
const KILLS_AFTER_MS: [u64; 8] = [0, 10, 30, 60, 100, 150, 200, 300];

/// Starts nodes whose addresses are those of their configuration, so that a new process finds them there.
fn start(number: usize, settings: &Settings) -> Vec<Node> {
    let mut nodes = Node::start_ready(number, settings);
    for node in &mut nodes {
        node.stop();
        node.start_again();
        node.wait_until_ready();
    }
    nodes
}

fn connect(address: SocketAddr, user: &str, last_event_id: &str) -> Option<Stream> {
    let tcp = TcpStream::connect(address).ok()?;
    let mut client = Client::over(tcp, Address::of_plain(address));
    let token = process::token_signed_with(SECRET, user);
    let path = format!("{NOTIFICATIONS}?token={token}");
    let id = if last_event_id.is_empty() {
        String::new()
    } else {
        format!("Last-Event-ID: {last_event_id}\r\n")
    };
    let request = Address::of_plain(address).get(&path, &id);
    client.socket.write_all(request.as_bytes()).ok()?;
    client.answered()
}

fn open(node: &Node, user: &str) -> Stream {
    let mut stream = connect(node.public, user, "").expect("an answer");
    stream.begin();
    stream
}

/// Publishes numbered events for the user, to the nodes in turn. An event that was not answered is published again under
/// its id.
struct Publishing {
    is_over: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Publishing {
    fn start(nodes: &[Node]) -> Self {
        let mut admins: Vec<Admin> = nodes
            .iter()
            .map(|node| Admin::new(node.admin, API_KEY))
            .collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (flag, count) = (Arc::clone(&is_over), Arc::clone(&accepted));
        let publish = move || {
            let mut number = 0;
            while !flag.load(Ordering::Relaxed) {
                let event = json!({
                    "to": {"user": USER}, "data": number.to_string(), "id": format!("n{number}"),
                });
                let turn = number % admins.len();
                // A connection may be cut off, but no request is refused.
                let answer = admins[turn].request("POST", "/v1/events", &event.to_string());
                if let Ok(answer) = answer {
                    assert_eq!(answer.status, 202, "{}", answer.body);
                    number += 1;
                    count.store(number, Ordering::Relaxed);
                }
            }
        };
        Self {
            is_over,
            accepted,
            thread: std::thread::spawn(publish),
        }
    }

    /// Waits until some more events are accepted.
    fn wait_for_more(&self) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("events are accepted", || {
            self.accepted.load(Ordering::Relaxed) > before + 5
        });
    }

    /// Returns the number of events.
    fn finish(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Follows the user's events, each once and in order.
struct Following {
    is_over: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    /// Returns how often the client had to come back.
    thread: JoinHandle<usize>,
}

impl Following {
    fn start(node: &Node) -> Self {
        let address = node.public;
        let mut stream = open(node, USER);
        let is_over = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicUsize::new(0));
        let (flag, count) = (Arc::clone(&is_over), Arc::clone(&received));
        let follow = move || {
            let (mut number, mut returns, mut id) = (0, 0, stream.position.clone());
            loop {
                while let Some(frame) = stream.next() {
                    // Heartbeats come all the time.
                    if flag.load(Ordering::Relaxed) {
                        return returns;
                    }
                    if frame.contains("event: heartbeat\n") {
                        continue;
                    }
                    let expected = format!("event: message\ndata: {number}\n");
                    assert!(frame.contains(&expected), "{frame} is not {number}");
                    let line = frame.lines().find_map(|line| line.strip_prefix("id: "));
                    line.expect("an id").clone_into(&mut id);
                    number += 1;
                    count.store(number, Ordering::Relaxed);
                }
                returns += 1;
                stream = loop {
                    if let Some(stream) = connect(address, USER, &id)
                        && stream.status == 200
                    {
                        break stream;
                    }
                };
                stream.begin();
            }
        };
        Self {
            is_over,
            received,
            thread: std::thread::spawn(follow),
        }
    }

    /// Waits until the client has all events, and ends it.
    fn finish(self, events: usize) -> usize {
        eventually("the client has all events", || {
            self.received.load(Ordering::Relaxed) >= events || self.thread.is_finished()
        });
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn streams_on_all_nodes_go_on_and_receive_each_event_once_and_in_order() {
    let redis = Redis::start(Options::in_memory());
    let mut nodes = start(2, &Settings::redis(&redis.url()));
    let clients: Vec<Following> = nodes
        .iter()
        .flat_map(|node| (0..4).map(|_| Following::start(node)))
        .collect();
    let publishing = Publishing::start(&nodes);
    for _ in 0..2 {
        nodes[0].upgrade();
        publishing.wait_for_more();
    }
    nodes[1].upgrade();
    publishing.wait_for_more();
    let events = publishing.finish();
    // The name of a node that has none in its configuration has passed on, too.
    assert_eq!(nodes[1].nodes()["nodes"].as_array().unwrap().len(), 2);
    for node in &nodes {
        let counted = complete(|| count(node, &[USER]));
        assert_eq!(counted["users"][USER]["connections"], 8, "{counted}");
    }
    for client in clients {
        assert_eq!(client.finish(events), 0, "it had to come back");
    }
}

#[test]
fn a_rolling_upgrade_under_load_loses_and_repeats_nothing_and_ends_no_stream() {
    let redis = Redis::start(Options::in_memory());
    roll(&Settings::redis(&redis.url()));
}

#[test]
fn a_rolling_upgrade_over_a_redis_cluster_loses_and_repeats_nothing() {
    let redis = RedisCluster::start(0, &Options::in_memory());
    roll(&Settings::redis(&redis.url()));
}

/// Upgrades one node after the other while clients hop between them.
fn roll(settings: &Settings) {
    let mut nodes = start(3, settings);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    for node in &mut nodes {
        node.upgrade();
        load.wait_for_events(50);
    }
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    outcome.check_without_gaps();
}

#[test]
fn while_redis_is_away_an_upgrade_is_declined() {
    let mut redis = Redis::start(Options::append_only());
    let mut nodes = start(1, &Settings::redis(&redis.url()));
    redis.kill();
    nodes[0].wait_until_not_ready();
    nodes[0].begin_upgrade();
    eventually("the upgrade is declined", || {
        let log = nodes[0].log_of_upgrade();
        log.contains("not upgraded") && log.contains("no event can be stored now")
    });
    redis.start_again();
    nodes[0].wait_until_ready();
    nodes[0].upgrade();
    nodes[0].wait_until_ready();
}

#[test]
fn the_limit_per_user_holds_while_streams_move() {
    let redis = Redis::start(Options::in_memory());
    let settings = Settings::redis(&redis.url()).limit(LIMIT);
    let mut nodes = start(2, &settings);
    let streams: Vec<Stream> = (0..LIMIT).map(|_| open(&nodes[0], USER)).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let (address, flag) = (nodes[1].public, Arc::clone(&is_over));
    let trying = std::thread::spawn(move || {
        let mut admitted = Vec::new();
        while !flag.load(Ordering::Relaxed) {
            let stream = connect(address, USER, "").expect("an answer");
            if stream.status == 200 {
                admitted.push(stream);
            }
        }
        admitted.len()
    });
    let local = "idlewild_limit_local_total";
    for _ in 0..3 {
        nodes[0].upgrade();
    }
    is_over.store(true, Ordering::Relaxed);
    let admitted = trying.join().unwrap();
    // A busy machine may keep Redis from answering in time, and then the node's own limit decides.
    let decided_here = nodes[1].metric(local).unwrap();
    assert!(admitted == 0 || decided_here > 0.0, "{admitted} admitted");
    // The places are free when the streams end, and not before.
    drop(streams);
    eventually("all places are free again", || {
        let opened: Vec<Stream> = (0..LIMIT)
            .filter_map(|_| connect(nodes[1].public, USER, ""))
            .filter(|stream| stream.status == 200)
            .collect();
        opened.len() == LIMIT
    });
}

#[test]
fn a_session_change_on_another_node_reaches_the_streams_of_the_new_process() {
    let redis = Redis::start(Options::in_memory());
    let mut nodes = start(2, &Settings::redis(&redis.url()));
    let mut stream = open(&nodes[0], USER);
    nodes[0].upgrade();
    let answer = nodes[1].request("POST", &format!("/v1/users/{USER}/logout"), "{}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.json().get("partial").is_none(), "{}", answer.body);
    let mut frames = std::iter::from_fn(|| stream.next());
    assert!(frames.any(|frame| frame.contains("FORCE_LOGOUT")));
}

#[test]
fn if_either_process_is_killed_no_accepted_event_is_lost() {
    for is_new in [true, false] {
        let redis = Redis::start(Options::in_memory());
        let mut nodes = start(2, &Settings::redis(&redis.url()));
        let clients: Vec<Following> = nodes
            .iter()
            .flat_map(|node| (0..3).map(|_| Following::start(node)))
            .collect();
        let publishing = Publishing::start(&nodes);
        for after_ms in KILLS_AFTER_MS {
            nodes[0].begin_upgrade();
            let new = nodes[0].wait_for_pid("step=process ");
            // The test has no business with the exact moment, only with many of them.
            std::thread::sleep(Duration::from_millis(after_ms));
            if is_new {
                kill_process(new, Signal::KILL).unwrap();
                eventually("the upgrade ends", || {
                    let log = nodes[0].log_of_upgrade();
                    log.contains("not upgraded") || log.contains(" upgraded pid=")
                });
                if nodes[0].log_of_upgrade().contains(" upgraded pid=") {
                    // It had taken over, so its death is that of the node.
                    nodes[0].follow(new);
                    nodes[0].forget();
                    nodes[0].start_again();
                }
            } else {
                let _ = kill_process(nodes[0].pid(), Signal::KILL);
                nodes[0].follow(new);
            }
            nodes[0].wait_until_ready();
            publishing.wait_for_more();
        }
        let events = publishing.finish();
        for client in clients {
            client.finish(events);
        }
        eventually("both nodes count all connections", || {
            let counted = complete(|| count(&nodes[1], &[USER]));
            counted["users"][USER]["connections"] == 0
        });
    }
}

#[test]
fn another_log_is_declined_by_name() {
    let redis = Redis::start(Options::in_memory());
    let settings = Settings::redis(&redis.url());
    let mut nodes = start(1, &settings.clone().engine("node = \"a\""));
    let node = &mut nodes[0];
    for other in [
        settings.clone().engine("node = \"b\""),
        settings.engine("node = \"a\"").engine("prefix = \"other\""),
        Settings::memory(),
    ] {
        node.configure(&other);
        node.begin_upgrade();
        eventually("the upgrade is declined", || {
            node.log_of_upgrade().contains("not upgraded")
        });
        let log = node.log_of_upgrade();
        assert!(log.contains("engine: this process uses "), "{log}");
        assert!(node.not_ready().is_none());
    }
}
