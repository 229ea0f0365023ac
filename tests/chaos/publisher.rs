//! Publishes like a careful application: every event has an id of its own and is sent again until the
//! server accepts it. So each event exists exactly once, whatever is killed in the meantime.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::parse_id;
use super::http::{Admin, Answer};
use super::plan::{Plan, To};
use super::world::Id;

/// Tries of one request: half a minute, including pauses.
const MAX_TRIES: usize = 1_500;
const PAUSE: Duration = Duration::from_millis(20);
/// After this many events, an old one is sent again.
const ASK_AGAIN: usize = 16;

pub struct Publisher {
    plan: Arc<Plan>,
    admin: Admin,
    published: Published,
}

#[derive(Default)]
pub struct Published {
    /// The ids that the server returned.
    pub ids: Vec<(usize, Id)>,
    /// The numbers of the events in the order of sending.
    pub order: Vec<usize>,
    /// Requests that had to be repeated.
    pub retries: usize,
}

impl Publisher {
    pub fn new(plan: Arc<Plan>, admin: Admin) -> Self {
        Self {
            plan,
            admin,
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

    pub fn publish(&mut self, events: Range<usize>) {
        let plan = Arc::clone(&self.plan);
        if events.len() > 1 {
            let lines: Vec<String> = events
                .clone()
                .map(|number| self.body(number).to_string())
                .collect();
            self.insist("/v1/events/batch", &lines.join("\n"), |answer| {
                let answer: Value = serde_json::from_str(&answer.body).unwrap();
                let refused = answer["errors"].as_array().unwrap();
                for error in refused {
                    let message = error["message"].as_str().unwrap();
                    assert!(message.contains("publish again"), "{answer}");
                }
                refused.is_empty().then_some(())
            });
            self.published.order.extend(events);
            return;
        }
        let number = events.start;
        let body = self.body(number).to_string();
        if !plan.events[number].persist {
            // Repeating it might deliver it twice.
            let _ = self.admin.request("POST", "/v1/events", &body);
            return;
        }
        let id = self.insist("/v1/events", &body, |answer| Some(accepted_id(&answer)));
        self.published.ids.push((number, id));
        self.published.order.push(number);
        if number.is_multiple_of(ASK_AGAIN) {
            self.ask_again();
        }
    }

    /// Publishes an event again that was accepted some time ago, perhaps by a server that was killed
    /// since. An application that has lost its position does the same.
    fn ask_again(&mut self) {
        let ids = &self.published.ids;
        let (number, id) = ids[ids.len() / 2];
        let body = self.body(number).to_string();
        let again = self.insist("/v1/events", &body, |answer| Some(accepted_id(&answer)));
        assert_eq!(again, id, "event {number} was published twice");
    }

    /// Sends a request until it is accepted.
    fn insist<T>(&mut self, path: &str, body: &str, accepted: impl Fn(Answer) -> Option<T>) -> T {
        for _ in 0..MAX_TRIES {
            match self.admin.request("POST", path, body) {
                Ok(answer) if answer.status == 202 => {
                    if let Some(accepted) = accepted(answer) {
                        return accepted;
                    }
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.body),
                // The server was killed, before or after it stored the event.
                Err(_) => {}
            }
            self.published.retries += 1;
            std::thread::sleep(PAUSE);
        }
        panic!("never accepted: {body}");
    }

    fn body(&self, number: usize) -> Value {
        let event = &self.plan.events[number];
        let to = match &event.to {
            To::User(user) => json!({"user": user_name(*user)}),
            To::Users(users) => {
                let users: Vec<String> = users.iter().copied().map(user_name).collect();
                json!({"users": users})
            }
            To::Topic(topic) => json!({"topic": topic_name(*topic)}),
            To::All => json!({"all": true}),
        };
        let mut body = json!({"to": to, "data": event.data, "id": self.plan.source_id(number)});
        if !event.persist {
            body["persist"] = false.into();
        }
        body
    }
}

pub fn user_name(user: u16) -> String {
    format!("user-{user}")
}

pub fn topic_name(topic: u8) -> String {
    format!("topics/{topic}")
}

fn accepted_id(answer: &Answer) -> Id {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let id = body["id"].as_str().unwrap();
    parse_id(id).unwrap_or_else(|| panic!("the id {id:?}"))
}
