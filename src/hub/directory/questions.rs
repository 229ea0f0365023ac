//! Remembers whose connections were recently asked whether they are still alive, so that a client that is refused
//! again and again does not make the server ask each time.

use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::hub::connection::ConnectionId;

/// Shortest time between two questions to one user's connections: about a client's second reconnect.
const PAUSE_MS: u64 = 10_000;
/// Most users remembered, about 300 KiB with the longest names. Connections of further users are not asked.
const MAX_USERS: usize = 1_024;

/// The users whose connections were asked recently, and the outcome for callers that wait.
#[derive(Debug, Default)]
pub(crate) struct Questions(Mutex<HashMap<CompactString, Asked, ahash::RandomState>>);

#[derive(Debug)]
struct Asked {
    at_ms: u64,
    outcome: watch::Receiver<Silent>,
}

/// Connections that did not answer and were left open.
pub(crate) type Silent = Box<[ConnectionId]>;

/// One caller asks a user's connections. Others that come meanwhile wait for the outcome.
#[derive(Debug)]
pub(crate) enum SingleFlight {
    /// The caller asks, until it drops this sender. If it leaves silent connections open, it sends them; the next
    /// caller may then ask at once.
    Ask(watch::Sender<Silent>),
    /// Another caller is asking. The receiver returns an error when that caller is done.
    Wait(watch::Receiver<Silent>),
    /// Nobody asks: it was done a moment ago, or too many users are remembered.
    Asked,
}

impl Questions {
    /// Decides whether the caller asks the user's connections.
    pub(crate) fn enter(&self, user: &str, now_ms: u64) -> SingleFlight {
        let mut users = self.0.lock();
        let is_recent = |asked: &Asked| now_ms < asked.at_ms + PAUSE_MS;
        if let Some(asked) = users.get(user) {
            // An error means that the caller that asked is done.
            if asked.outcome.has_changed().is_ok() {
                return SingleFlight::Wait(asked.outcome.clone());
            }
            if is_recent(asked) && asked.outcome.borrow().is_empty() {
                return SingleFlight::Asked;
            }
        } else if users.len() >= MAX_USERS {
            users.retain(|_, asked| is_recent(asked));
            if users.len() >= MAX_USERS {
                return SingleFlight::Asked;
            }
        }
        let (question, outcome) = watch::channel(Silent::default());
        let at_ms = now_ms;
        users.insert(user.into(), Asked { at_ms, outcome });
        SingleFlight::Ask(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_asks_others_wait_and_soon_afterwards_nobody_asks() {
        let questions = Questions::default();
        let SingleFlight::Ask(question) = questions.enter("42", 0) else {
            panic!("the first asks");
        };
        let SingleFlight::Wait(outcome) = questions.enter("42", 10) else {
            panic!("the second waits");
        };
        assert!(matches!(questions.enter("43", 10), SingleFlight::Ask(_)));
        drop(question);
        assert!(outcome.has_changed().is_err());
        assert!(matches!(
            questions.enter("42", PAUSE_MS - 1),
            SingleFlight::Asked
        ));
        assert!(matches!(
            questions.enter("42", PAUSE_MS),
            SingleFlight::Ask(_)
        ));
    }

    #[test]
    fn a_caller_that_leaves_silent_connections_open_lets_the_next_one_ask() {
        let questions = Questions::default();
        let SingleFlight::Ask(question) = questions.enter("42", 0) else {
            panic!("the first asks");
        };
        let left = ConnectionId::new(0, 1, 1);
        question.send_replace(Box::new([left]));
        assert!(matches!(questions.enter("42", 1), SingleFlight::Wait(_)));
        drop(question);
        assert!(matches!(questions.enter("42", 1), SingleFlight::Ask(_)));
        assert!(matches!(questions.enter("42", 1), SingleFlight::Asked));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let questions = Questions::default();
        for user in 0..2 * MAX_USERS {
            let flight = questions.enter(&user.to_string(), 0);
            assert_eq!(matches!(flight, SingleFlight::Ask(_)), user < MAX_USERS);
        }
        assert_eq!(questions.0.lock().len(), MAX_USERS);
        assert!(matches!(
            questions.enter("new", PAUSE_MS),
            SingleFlight::Ask(_)
        ));
        assert_eq!(questions.0.lock().len(), 1);
    }
}
