//! What nodes ask each other, and what they answer, as it is stored. A later version may add kinds and fields; a node
//! does not answer what it does not understand.

use std::net::IpAddr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::event::UserId;
use crate::hub::{ConnectionId, Description};
use crate::metrics::Transport;

/// A question in the stream of questions.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredQuestion {
    /// The process that asks, and its number for the question. They name the hash of the answers.
    pub(super) by: String,
    pub(super) number: u64,
    /// When it gives up, in the store's Unix milliseconds.
    pub(super) until_ms: u64,
    pub(super) ask: Question,
}

/// What a node wants to know of the others.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// This user's connections. The answer is a list of [`StoredDescription`].
    Describe(String),
    /// The number of each user's connections. The answer is a list of numbers.
    Count(Vec<String>),
    /// How many connections the session change of this id has ended. The answer is a number.
    Ended(String),
    /// Whether this connection of a user to the node of this name was ended, to make room for another one. The answer
    /// is true or false.
    Evict {
        node: String,
        user: String,
        /// The bits of its id.
        connection: u64,
    },
    /// Whether dead connections of this user could be closed. The answer is true or false.
    Room(String),
}

impl StoredQuestion {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers serialise")
    }

    /// Reads a question. `None` if this version does not understand it.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// A user of a question. `None` if another program has written the name.
pub(super) fn user(name: &str) -> Option<UserId> {
    UserId::new(name).ok()
}

/// A connection in an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredDescription {
    /// The bits of its id.
    id: u64,
    since_s: u32,
    transport: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<String>,
}

impl From<Description> for StoredDescription {
    fn from(description: Description) -> Self {
        Self {
            id: description.connection.to_bits(),
            since_s: description.since_s,
            transport: description.transport.label().to_owned(),
            remote: description.remote,
            session: description.session,
            topics: description.topics.iter().map(ToString::to_string).collect(),
        }
    }
}

impl StoredDescription {
    /// Reads it. `None` if this version does not know the transport.
    pub(super) fn read(self) -> Option<Description> {
        let transport = Transport::ALL
            .iter()
            .find(|it| it.label() == self.transport)?;
        Some(Description {
            connection: ConnectionId::from_bits(self.id),
            since_s: self.since_s,
            transport: *transport,
            remote: self.remote,
            session: self.session,
            topics: self.topics.into_iter().map(CompactString::from).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_back_and_what_a_later_version_adds_is_ignored() {
        let question = StoredQuestion {
            by: "a-1".to_owned(),
            number: 7,
            until_ms: 9,
            ask: Question::Count(vec!["42".to_owned()]),
        };
        let json = question.to_json();
        let expected = r#"{"by":"a-1","number":7,"until_ms":9,"ask":{"count":["42"]}}"#;
        assert_eq!(json, expected);
        let more = json.replace("{\"by\"", "{\"more\":[1],\"by\"");
        assert_eq!(StoredQuestion::from_json(more.as_bytes()), Some(question));
        let other_kind = json.replace("count", "weigh");
        assert_eq!(StoredQuestion::from_json(other_kind.as_bytes()), None);
        assert_eq!(StoredQuestion::from_json(b""), None);
    }

    #[test]
    fn a_description_comes_back() {
        let description = Description {
            connection: ConnectionId::new(3, 2, 1),
            since_s: 1_700_000_000,
            transport: Transport::WebSocket,
            remote: Some("2001:db8::1".parse().unwrap()),
            session: Some("phone".into()),
            topics: vec!["a/b".into()],
        };
        let json = serde_json::to_string(&StoredDescription::from(description.clone())).unwrap();
        let stored: StoredDescription = serde_json::from_str(&json).unwrap();
        assert_eq!(
            format!("{:?}", stored.read().unwrap()),
            format!("{description:?}")
        );
        let unknown = json.replace(Transport::WebSocket.label(), "carrier pigeon");
        let stored: StoredDescription = serde_json::from_str(&unknown).unwrap();
        assert!(stored.read().is_none());
    }
}
