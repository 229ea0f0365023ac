//! Publishes like a careful application: every event has an id of its own and is sent again until a
//! server accepts it. So each event exists exactly once, whatever is killed in the meantime.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::Value;

use super::admin::{Admin, Answer};
use super::book::{Book, Id, parse_id};

/// Tries of one request: half a minute, including pauses.
const MAX_TRIES: usize = 1_500;
const PAUSE: Duration = Duration::from_millis(20);
/// Parts of the reasons for which a line of a batch is refused for now. What is wrong with a line itself stays wrong.
const FOR_NOW: [&str; 2] = ["again", "out of memory"];
/// After this many events, an old one is sent again.
const ASK_AGAIN: usize = 16;

pub struct Publisher {
    book: Arc<Book>,
    /// The admin listeners of all nodes.
    nodes: Vec<Admin>,
    /// The node for the next request.
    node: usize,
    published: Published,
}

/// What one publisher did.
#[derive(Default)]
pub struct Published {
    /// The numbers of the events that were accepted one by one.
    singles: Vec<usize>,
    /// The numbers of the events in the order of sending.
    pub order: Vec<usize>,
    /// Requests that had to be repeated.
    pub retries: usize,
    /// The number of refusals with each error code.
    pub refusals: BTreeMap<String, usize>,
}

impl Publisher {
    /// A publisher that sends each request to the node after the last one.
    pub fn new(book: Arc<Book>, nodes: Vec<Admin>) -> Self {
        Self {
            book,
            nodes,
            node: 0,
            published: Published::default(),
        }
    }

    /// Publishes all events that it receives, until the channel closes.
    pub fn run(mut self, requests: &Receiver<Range<usize>>) -> Published {
        for events in requests {
            self.publish(events);
        }
        self.published
    }

    /// Publishes these events, several of them as a batch.
    pub fn publish(&mut self, events: Range<usize>) {
        let book = Arc::clone(&self.book);
        events.clone().for_each(|number| book.send(number));
        if events.len() > 1 {
            let lines: Vec<String> = events
                .clone()
                .map(|number| book.body(number).to_string())
                .collect();
            self.insist("/v1/events/batch", &lines.join("\n"), |answer| {
                let answer: Value = serde_json::from_str(&answer.body).unwrap();
                let refused = answer["errors"].as_array().unwrap();
                for error in refused {
                    let message = error["message"].as_str().unwrap();
                    let is_for_now = FOR_NOW.iter().any(|part| message.contains(part));
                    assert!(is_for_now, "{answer}");
                }
                refused.is_empty().then_some(())
            });
            for number in events.clone() {
                book.accept(number, None);
            }
            self.published.order.extend(events);
            return;
        }
        let number = events.start;
        let body = book.body(number).to_string();
        if !book.event(number).persist {
            // Repeating it might deliver it twice.
            let _ = self.next_node().request("POST", "/v1/events", &body);
            return;
        }
        self.publish_one(number);
        self.published.singles.push(number);
        self.published.order.push(number);
        if number.is_multiple_of(ASK_AGAIN) {
            self.ask_again();
        }
    }

    pub fn finish(self) -> Published {
        self.published
    }

    /// Publishes an event again that was accepted some time ago, perhaps by a server that was killed
    /// since. An application that has lost its position does the same. The check compares the ids.
    fn ask_again(&mut self) {
        let numbers = &self.published.singles;
        self.publish_one(numbers[numbers.len() / 2]);
    }

    fn publish_one(&mut self, number: usize) {
        let body = self.book.body(number).to_string();
        let id = self.insist("/v1/events", &body, |answer| Some(accepted_id(&answer)));
        self.book.accept(number, Some(id));
    }

    /// Sends a request until it is accepted.
    fn insist<T>(&mut self, path: &str, body: &str, accepted: impl Fn(Answer) -> Option<T>) -> T {
        for _ in 0..MAX_TRIES {
            match self.next_node().request("POST", path, body) {
                Ok(answer) if answer.status == 202 => {
                    if let Some(accepted) = accepted(answer) {
                        return accepted;
                    }
                }
                Ok(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.body);
                    let code = error_code(&answer);
                    *self.published.refusals.entry(code).or_default() += 1;
                }
                // The server was killed, before or after it stored the event.
                Err(_) => {}
            }
            self.published.retries += 1;
            std::thread::sleep(PAUSE);
        }
        panic!("never accepted: {body}");
    }

    fn next_node(&mut self) -> &mut Admin {
        self.node = (self.node + 1) % self.nodes.len();
        &mut self.nodes[self.node]
    }
}

fn accepted_id(answer: &Answer) -> Id {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let id = body["id"].as_str().unwrap();
    parse_id(id).unwrap_or_else(|| panic!("the id {id:?}"))
}

fn error_code(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}
