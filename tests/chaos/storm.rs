//! Carries out the plan. The clients share one thread; each publisher and the killer have their own, so
//! that a kill interrupts publishing and replays.

use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet};

use super::client::Client;
use super::common::admin::Admin;
use super::common::publisher::{Published, Publisher};
use super::common::real_time::{now, sleep};
use super::plan::{PUBLISHERS, Plan, SPEED, Step, Trouble};
use super::server::{API_KEY, Counted, SECRET, Server};
use super::world::{Servers, World};

/// Longest wait for something that should happen soon.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// The result of a run.
pub struct Aftermath {
    pub world: Rc<World>,
    pub clients: Vec<Client>,
    pub published: Vec<Published>,
    pub kills: u32,
    /// The number of gaps that clients received.
    pub gaps: usize,
    /// The streams that the server had open at the end.
    pub connections: u64,
    pub counted: Counted,
    pub since_restart: Counted,
    /// Half-open connections to the current server.
    pub deaf_since_restart: usize,
    pub took: Duration,
}

/// The threads that cause trouble.
struct Crew<'scope> {
    publishers: Vec<mpsc::Sender<Range<usize>>>,
    publishing: Vec<ScopedJoinHandle<'scope, Published>>,
    kills: mpsc::Sender<()>,
    killing: ScopedJoinHandle<'scope, ()>,
}

/// Runs the whole plan against a server that has just started.
pub fn run(plan: &Arc<Plan>, server: &mut Server) -> Aftermath {
    let began = now();
    let servers = Arc::new(Servers::default());
    let world = World::new(Arc::clone(plan), server.public, Arc::clone(&servers));
    let world = Rc::new(world);
    let admin = server.admin;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tasks = LocalSet::new();

    let everybody = plan.clients.len();
    let (troubles, clients) = tasks.block_on(&runtime, async {
        let called = call_everybody(&world);
        eventually("everybody is there", || {
            world.counts.begun.get() == everybody
        })
        .await;
        called
    });
    publish_alone(plan, admin, 0);
    tasks.block_on(
        &runtime,
        eventually("everybody has the first event", || {
            world.counts.have_first.get() == everybody
        }),
    );
    let published = std::thread::scope(|scope| {
        let crew = Crew::start(scope, plan, admin, server, &servers);
        tasks.block_on(&runtime, crew.carry_out(plan, &troubles))
    });
    publish_alone(plan, admin, plan.last());
    let (clients, (connections, counted, since_restart)) = tasks.block_on(&runtime, async {
        // All clients have the last event, and all abandoned connections are closed. If not, the
        // checks report it after the timeout.
        let deadline = now() + PATIENCE;
        while (world.counts.have_last.get() < everybody || server.connections() != everybody as u64)
            && now() < deadline
        {
            sleep(POLL).await;
        }
        // Before all of them close.
        let counted = (
            server.connections(),
            server.counted(),
            server.counted_since_start(),
        );
        drop(troubles);
        let mut ended = Vec::with_capacity(everybody);
        for client in clients {
            ended.push(client.await.unwrap());
        }
        (ended, counted)
    });
    Aftermath {
        kills: servers.current(),
        gaps: clients.iter().map(|client| client.journal.gaps()).sum(),
        deaf_since_restart: world.deaf_to(servers.current()),
        connections,
        counted,
        since_restart,
        world,
        clients,
        published,
        took: now().duration_since(began),
    }
}

impl<'scope> Crew<'scope> {
    fn start(
        scope: &'scope Scope<'scope, '_>,
        plan: &'scope Arc<Plan>,
        admin: SocketAddr,
        server: &'scope mut Server,
        servers: &'scope Servers,
    ) -> Self {
        let (publishers, publishing) = (0..PUBLISHERS)
            .map(|_| {
                let (requests, queue) = mpsc::channel();
                let publisher = publisher(plan, admin);
                (requests, scope.spawn(move || publisher.run(&queue)))
            })
            .unzip();
        let (kills, queue) = mpsc::channel();
        let killing = scope.spawn(move || {
            for () in queue {
                servers.begin_kill();
                server.kill_and_restart(|| servers.end_kill());
            }
        });
        Self {
            publishers,
            publishing,
            kills,
            killing,
        }
    }

    /// Carries out every step of the plan at its time, and waits until everything is published.
    async fn carry_out(self, plan: &Plan, troubles: &[UnboundedSender<Trouble>]) -> Vec<Published> {
        let began = now();
        for (virtual_ms, step) in &plan.steps {
            let due = began + Duration::from_millis(u64::from(virtual_ms / SPEED));
            let left = due.saturating_duration_since(now());
            if !left.is_zero() {
                sleep(left).await;
            }
            match step {
                Step::Publish { publisher, events } => {
                    self.publishers[*publisher].send(events.clone()).unwrap();
                }
                Step::Trouble { client, trouble } => troubles[*client].send(*trouble).unwrap(),
                Step::Kill => self.kills.send(()).unwrap(),
            }
        }
        drop((self.publishers, self.kills));
        eventually("all is published", || {
            self.killing.is_finished() && self.publishing.iter().all(ScopedJoinHandle::is_finished)
        })
        .await;
        self.killing.join().unwrap();
        self.publishing
            .into_iter()
            .map(|publishing| publishing.join().unwrap())
            .collect()
    }
}

type Everybody = (Vec<UnboundedSender<Trouble>>, Vec<JoinHandle<Client>>);

fn call_everybody(world: &Rc<World>) -> Everybody {
    (0..world.plan.clients.len())
        .map(|number| {
            let (trouble, troubles) = unbounded_channel();
            let token = world.plan.clients[number].subscriber.token(SECRET);
            let client = Client::new(number, Rc::clone(world), token);
            (trouble, tokio::task::spawn_local(client.live(troubles)))
        })
        .unzip()
}

/// Publishes an event before or after all others.
fn publish_alone(plan: &Arc<Plan>, admin: SocketAddr, number: usize) {
    publisher(plan, admin).publish(number..number + 1);
}

fn publisher(plan: &Plan, admin: SocketAddr) -> Publisher {
    Publisher::new(Arc::clone(&plan.book), vec![Admin::new(admin, API_KEY)])
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !is_so() {
        assert!(now() < deadline, "never came true: {what}");
        sleep(POLL).await;
    }
}
