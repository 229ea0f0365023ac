//! Applications that publish on all nodes in turn, each on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::admin::Admin;
use crate::common::book::{Book, Event, To};
use crate::common::publisher::{Published, Publisher};
use crate::support::API_KEY;

/// Longest wait for a node's answer. A paused node does not answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Whom the events are for.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    pub users: u16,
    pub topics: u8,
}

pub struct Publishers {
    book: Arc<Book>,
    nodes: Vec<SocketAddr>,
    per_second: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Published>>,
}

impl Publishers {
    /// Starts this many publishers, which publish nothing yet.
    pub fn start(
        number: usize,
        nodes: &[SocketAddr],
        book: &Arc<Book>,
        audience: Audience,
    ) -> Self {
        let per_second = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = (0..number).map(|_| {
            let (book, rate) = (Arc::clone(book), Arc::clone(&per_second));
            let is_over = Arc::clone(&is_over);
            let publisher = publisher(&book, nodes);
            let run = move || publish(publisher, &book, audience, &rate, &is_over);
            std::thread::spawn(run)
        });
        Self {
            book: Arc::clone(book),
            nodes: nodes.to_vec(),
            threads: threads.collect(),
            per_second,
            is_over,
        }
    }

    /// From now on, all of them together publish about this many events per second. While an event is not accepted, its
    /// publisher sends no other.
    pub fn rate(&self, per_second: u64) {
        let each = per_second / self.threads.len() as u64;
        self.per_second.store(each, Ordering::SeqCst);
    }

    /// Publishes one event for everybody, until a node accepts it.
    pub fn publish_to_all(&self, number: usize) -> Published {
        let mut publisher = publisher(&self.book, &self.nodes);
        publisher.publish(number..number + 1);
        publisher.finish()
    }

    /// Ends all publishers once their last event is accepted.
    pub fn stop(&mut self) -> Vec<Published> {
        self.is_over.store(true, Ordering::SeqCst);
        let threads = self.threads.drain(..);
        threads.map(|thread| thread.join().unwrap()).collect()
    }
}

fn publisher(book: &Arc<Book>, nodes: &[SocketAddr]) -> Publisher {
    let admin = |node: &SocketAddr| Admin::new(*node, API_KEY).with_patience(PATIENCE);
    Publisher::new(Arc::clone(book), nodes.iter().map(admin).collect())
}

fn publish(
    mut publisher: Publisher,
    book: &Book,
    audience: Audience,
    per_second: &AtomicU64,
    is_over: &AtomicBool,
) -> Published {
    const IDLE: Duration = Duration::from_millis(5);
    while !is_over.load(Ordering::SeqCst) {
        let rate = per_second.load(Ordering::SeqCst);
        if rate == 0 {
            std::thread::sleep(IDLE);
            continue;
        }
        let events = request(audience);
        let size = u32::try_from(events.len()).unwrap();
        publisher.publish(book.add(events));
        std::thread::sleep(Duration::from_secs(u64::from(size)) / u32::try_from(rate).unwrap());
    }
    publisher.finish()
}

/// One event, or sometimes a batch.
fn request(audience: Audience) -> Vec<Event> {
    let size = match fastrand::u8(0..16) {
        0 => fastrand::usize(2..=8),
        _ => 1,
    };
    (0..size).map(|_| event(audience)).collect()
}

fn event(audience: Audience) -> Event {
    let user = || fastrand::u16(0..audience.users);
    let to = match fastrand::u8(0..10) {
        0..4 => To::User(user()),
        4..6 => To::Users(vec![user(), user()]),
        6..9 => To::Topic(fastrand::u8(0..audience.topics)),
        _ => To::All,
    };
    let bytes = fastrand::usize(50..400);
    Event {
        to,
        data: std::iter::repeat_with(fastrand::lowercase)
            .take(bytes)
            .collect(),
        persist: true,
    }
}
