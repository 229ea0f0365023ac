//! Random faults, one or two at a time, under load. `CHAOS_SEED=7 cargo test --test cluster chaos` repeats the faults
//! of a run, and `CHAOS_STEPS=100` makes it longer. What clients and publishers do is random in every run.

use std::env;
use std::time::Duration;

use fastrand::Rng;

use crate::common::check::Rules;
use crate::crowd::Crowd;
use crate::load::{LOG_KEY, Load, Size};
use crate::node::{Node, Settings};
use crate::proxy::Proxy;
use crate::redis::{Options, Redis};
use crate::support::eventually;

const NODES: usize = 3;
/// About 20 s on two cores.
const STEPS: usize = 6;
/// Events that have to be accepted between two steps.
const BETWEEN: usize = 100;
/// The longest ends connections (1.5 s without a reply, 3 s without a beat), but no lease (10 s).
const MAX_LENGTH_MS: u64 = 4_000;
/// Above what the clients of the load, a few of each user, can reach.
const LIMIT: usize = 20;
/// Part of the requests that run a script.
const SCRIPT: &str = "EVAL";

/// What is wrong at the same time.
#[derive(Debug)]
struct Step {
    faults: Vec<Fault>,
    length: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    RedisKilled,
    RedisPaused,
    /// Between this node and Redis.
    Cut(usize),
    Refused(usize),
    Swallowed(usize),
    Delayed(usize, Duration),
    RepliesLost(usize, u8),
    NodeKilled(usize),
    NodePaused(usize),
    NodeStopped(usize),
}

struct World {
    redis: Redis,
    proxies: Vec<Proxy>,
    nodes: Vec<Node>,
    /// Connections on which ended processes decided without Redis.
    decided_alone: f64,
}

#[test]
fn whatever_happens_every_client_has_each_event_once_and_in_order_and_the_limit_holds() {
    let variable = |name| env::var(name).ok().map(|value| value.parse().unwrap());
    let seed = variable("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let steps = variable("CHAOS_STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap());
    say(&format!("CHAOS_SEED={seed} CHAOS_STEPS={steps}"));
    let mut random = Rng::with_seed(seed);
    let mut world = World::start();
    let load = Load::start(&world.nodes, Size::default());
    let crowd = Crowd::start(world.nodes.iter().map(|node| node.public).collect());
    for number in 0..steps {
        let step = Step::random(&mut random);
        say(&format!("{number}: {step:?}"));
        world.check_limit(&crowd, |_| load.wait_for_events(BETWEEN));
        world.check_limit(&crowd, |world| world.undergo(&step, &crowd));
    }
    world.check_limit(&crowd, |_| load.wait_for_events(BETWEEN));
    // The test must not pass because nobody came.
    eventually("the crowd reaches the limit", || crowd.most_ever() >= LIMIT);
    crowd.finish();
    let outcome = load.finish();
    let Rules { lost, .. } = outcome.lost(&world.redis.ids(LOG_KEY));
    assert!(lost.is_empty(), "{} events are lost: {lost:?}", lost.len());
    let report = outcome.check(&Rules::default());
    // A client that was ahead of its next node was told of a gap, and then got everything again.
    assert_eq!(report.excused, 0);
}

impl Step {
    fn random(random: &mut Rng) -> Self {
        let first = Fault::random(random);
        let second = (random.u8(0..3) == 0).then(|| Fault::random(random));
        let second = second.filter(|second| second.place() != first.place());
        Self {
            faults: [first].into_iter().chain(second).collect(),
            length: Duration::from_millis(random.u64(50..MAX_LENGTH_MS)),
        }
    }
}

impl Fault {
    fn random(random: &mut Rng) -> Self {
        let node = random.usize(0..NODES);
        match random.u8(0..10) {
            0 => Self::RedisKilled,
            1 => Self::RedisPaused,
            2 => Self::Cut(node),
            3 => Self::Refused(node),
            4 => Self::Swallowed(node),
            5 => Self::Delayed(node, Duration::from_millis(random.u64(10..1_000))),
            6 => Self::RepliesLost(node, random.u8(5..=100)),
            7 => Self::NodeKilled(node),
            8 => Self::NodePaused(node),
            _ => Self::NodeStopped(node),
        }
    }

    /// Two faults of one place exclude each other.
    fn place(self) -> (&'static str, usize) {
        match self {
            Self::RedisKilled | Self::RedisPaused => ("redis", 0),
            Self::Cut(node)
            | Self::Refused(node)
            | Self::Swallowed(node)
            | Self::Delayed(node, _)
            | Self::RepliesLost(node, _) => ("between", node),
            Self::NodeKilled(node) | Self::NodePaused(node) | Self::NodeStopped(node) => {
                ("node", node)
            }
        }
    }
}

impl World {
    fn start() -> Self {
        let redis = Redis::start(Options::append_only());
        let proxies: Vec<Proxy> = (0..NODES).map(|_| Proxy::start(redis.address())).collect();
        let nodes: Vec<Node> = proxies
            .iter()
            .map(|proxy| Settings::redis(&redis.url_at(proxy.address)).limit(LIMIT))
            .map(|settings| Node::start(&settings))
            .collect();
        nodes.iter().for_each(Node::wait_until_ready);
        Self {
            redis,
            proxies,
            nodes,
            decided_alone: 0.0,
        }
    }

    /// Runs something while a new user has more clients than places, and checks that never more than the limit are in.
    /// If a node has decided without Redis meanwhile, they may be.
    fn check_limit(&mut self, crowd: &Crowd, run: impl FnOnce(&mut Self)) {
        let before = self.decided_alone();
        crowd.next_user();
        run(self);
        let most = crowd.most();
        let alone = self.decided_alone() - before;
        say(&format!(
            "  at most {most} streams of one user; {alone} decisions without Redis"
        ));
        assert!(most <= LIMIT || alone > 0.0, "{most} streams of one user");
    }

    fn decided_alone(&self) -> f64 {
        let now = self.nodes.iter().map(decided_alone).sum::<f64>();
        now + self.decided_alone
    }

    /// Everything is well before and after.
    fn undergo(&mut self, step: &Step, crowd: &Crowd) {
        for fault in &step.faults {
            self.begin(*fault, crowd);
        }
        // The fault's length, not a time in which something has to happen.
        std::thread::sleep(step.length);
        for fault in &step.faults {
            self.end(*fault, crowd);
        }
        self.nodes.iter().for_each(Node::wait_until_ready);
    }

    fn begin(&mut self, fault: Fault, crowd: &Crowd) {
        match fault {
            Fault::RedisKilled => self.redis.kill(),
            Fault::RedisPaused => self.redis.pause(),
            Fault::Cut(node) => self.proxies[node].cut(),
            Fault::Refused(node) => self.proxies[node].refuse(),
            Fault::Swallowed(node) => self.proxies[node].swallow(),
            Fault::Delayed(node, delay) => self.proxies[node].delay(delay),
            Fault::RepliesLost(node, percent) => self.proxies[node].lose_replies(percent, SCRIPT),
            Fault::NodeKilled(node) => {
                self.before_end(node, crowd);
                self.nodes[node].kill();
            }
            Fault::NodePaused(node) => self.nodes[node].pause(),
            Fault::NodeStopped(node) => {
                self.before_end(node, crowd);
                self.nodes[node].stop();
            }
        }
    }

    fn before_end(&mut self, node: usize, crowd: &Crowd) {
        // Its streams end before their clients notice.
        crowd.forget_node(node);
        self.decided_alone += decided_alone(&self.nodes[node]);
    }

    fn end(&mut self, fault: Fault, crowd: &Crowd) {
        match fault {
            Fault::RedisKilled => self.redis.start_again(),
            Fault::RedisPaused => self.redis.resume(),
            Fault::Cut(node)
            | Fault::Refused(node)
            | Fault::Swallowed(node)
            | Fault::Delayed(node, _)
            | Fault::RepliesLost(node, _) => self.proxies[node].pass(),
            Fault::NodeKilled(node) | Fault::NodeStopped(node) => {
                self.nodes[node].start_again();
                crowd.remember_node(node);
            }
            Fault::NodePaused(node) => self.nodes[node].resume(),
        }
    }
}

/// Connections on which a node has decided without Redis since its start.
fn decided_alone(node: &Node) -> f64 {
    node.metric("idlewild_limit_local_total").unwrap()
}

/// Shown if the test fails.
#[allow(clippy::print_stderr)]
fn say(line: &str) {
    eprintln!("{line}");
}
