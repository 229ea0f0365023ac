//! The stored form of the log's entries, the same in a history on disk and in Redis. It is JSON, so that operators
//! can read it with any tool. Unknown fields are ignored: a later version, which may run on another node, can add
//! to an entry.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::event::{
    Draft, EventName, InvalidEvent, SessionChange, Target, UserId, Users, check_session,
};
use crate::hub::log::{Control, Record};
use crate::topic::{Topic, TopicError};

/// One stored entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stored<'a> {
    /// The beginning of a history. Its id is the position of clients that came before the first event.
    Origin {},
    Event {
        to: To<'a>,
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        data: Cow<'a, str>,
        /// False for an event that is delivered now or never.
        #[serde(default = "kept", skip_serializing_if = "is_kept")]
        persist: bool,
    },
    Session {
        #[serde(borrow)]
        user: Cow<'a, str>,
        keep: Option<Cow<'a, str>>,
        at_unix_ms: u64,
        #[serde(borrow)]
        data: Cow<'a, str>,
    },
    /// A request to every node. It is never kept, so only a store that nodes share has one.
    Control {
        /// The user whose connections end.
        #[serde(borrow)]
        disconnect: Cow<'a, str>,
        /// The node that waits for the answers, and its number for the request.
        #[serde(borrow)]
        by: Cow<'a, str>,
        number: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum To<'a> {
    #[serde(borrow)]
    User(Cow<'a, str>),
    Users(Vec<Cow<'a, str>>),
    #[serde(borrow)]
    Topic(Cow<'a, str>),
    All,
}

fn kept() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_kept(persist: &bool) -> bool {
    *persist
}

/// The reason why a stored entry cannot be read: another program wrote it, or the disk altered it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each message says it
pub(super) enum Unreadable {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Event(#[from] InvalidEvent),
    #[error("{0}")]
    Topic(#[from] TopicError),
}

impl<'a> Stored<'a> {
    /// An event that is kept.
    pub(super) fn event(to: &'a Target, name: &'a EventName, data: &'a str) -> Self {
        Self::published(to, name, data, true)
    }

    fn published(to: &'a Target, name: &'a EventName, data: &'a str, persist: bool) -> Self {
        let to = match to {
            Target::User(user) => To::User(user.as_str().into()),
            Target::Users(users) => {
                let users = users.as_slice().iter();
                To::Users(users.map(|user| user.as_str().into()).collect())
            }
            Target::Topic(topic) => To::Topic(topic.as_str().into()),
            Target::All => To::All,
        };
        Self::Event {
            to,
            event: name.as_str().into(),
            data: data.into(),
            persist,
        }
    }

    /// A publisher's event.
    pub(super) fn draft(draft: &'a Draft) -> Self {
        Self::published(&draft.to, &draft.name, &draft.data, draft.is_kept)
    }

    /// A record of the log. A mark is an origin. So is a resync, which ends the streams of one process only.
    pub(super) fn of(record: &'a Record) -> Self {
        match record {
            Record::Event {
                to,
                name,
                data,
                is_kept,
            } => Self::published(to, name, data, *is_kept),
            Record::Session { change, data } => Self::session(change, data),
            Record::Mark | Record::Resync => Self::Origin {},
            Record::Control { control, .. } => {
                let Control::Disconnect { user } = control;
                Self::Control {
                    disconnect: user.as_str().into(),
                    by: "".into(),
                    number: 0,
                }
            }
        }
    }

    /// The user whose connections end, if it is such a request.
    pub(super) fn disconnected(&self) -> Option<&str> {
        match self {
            Self::Control { disconnect, .. } => Some(disconnect),
            _ => None,
        }
    }

    pub(super) fn session(change: &'a SessionChange, data: &'a str) -> Self {
        Self::Session {
            user: change.user.as_str().into(),
            keep: change.keep.as_deref().map(Into::into),
            at_unix_ms: change.at_unix_ms,
            data: data.into(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers serialise")
    }

    pub(super) fn from_json(json: &'a str) -> Result<Self, Unreadable> {
        Ok(serde_json::from_str(json)?)
    }

    /// The entry's record for the log; `None` for an origin and for a control entry.
    pub(super) fn record(&self) -> Result<Option<Record>, Unreadable> {
        Ok(Some(match self {
            Self::Origin {} | Self::Control { .. } => return Ok(None),
            Self::Event {
                to,
                event,
                data,
                persist,
            } => {
                let to = match to {
                    To::User(user) => Target::User(UserId::new(user)?),
                    To::Users(users) => {
                        let users = users.iter().map(|user| UserId::new(user));
                        Target::Users(Users::new(users.collect::<Result<_, _>>()?))
                    }
                    To::Topic(topic) => Target::Topic(Topic::parse(topic)?),
                    To::All => Target::All,
                };
                Record::Event {
                    to,
                    name: EventName::new(event)?,
                    data: data.as_ref().into(),
                    is_kept: *persist,
                }
            }
            Self::Session {
                user,
                keep,
                at_unix_ms,
                data,
            } => {
                let keep = keep.as_deref();
                let change = SessionChange {
                    user: UserId::new(user)?,
                    keep: keep
                        .map(|keep| check_session(keep).map(|()| keep.into()))
                        .transpose()?,
                    at_unix_ms: *at_unix_ms,
                };
                let data = data.as_ref().into();
                Record::Session { change, data }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(stored: &Stored<'_>) -> (String, Record) {
        let json = stored.to_json();
        let record = Stored::from_json(&json).unwrap().record().unwrap();
        (json, record.expect("no origin"))
    }

    #[test]
    fn an_entry_is_stored_as_json_that_people_can_read() {
        let to = Target::User(UserId::new("42").unwrap());
        let (json, _) = round_trip(&Stored::event(&to, &EventName::default(), "{\"a\":1}"));
        assert_eq!(
            json,
            r#"{"event":{"to":{"user":"42"},"event":"message","data":"{\"a\":1}"}}"#
        );
        let (json, _) = round_trip(&Stored::event(&Target::All, &EventName::default(), "x"));
        assert_eq!(
            json,
            r#"{"event":{"to":"all","event":"message","data":"x"}}"#
        );
    }

    #[test]
    fn an_origin_is_stored_and_is_no_entry() {
        let json = Stored::Origin {}.to_json();
        assert_eq!(json, r#"{"origin":{}}"#);
        let read = Stored::from_json(&json).unwrap();
        assert!(read.record().unwrap().is_none());
    }

    #[test]
    fn a_field_of_a_later_version_is_ignored() {
        for json in [
            r#"{"event":{"to":"all","event":"message","data":"x","more":1}}"#,
            r#"{"session":{"user":"1","keep":null,"at_unix_ms":1,"data":"x","more":{}}}"#,
        ] {
            let read = Stored::from_json(json).unwrap();
            assert!(read.record().unwrap().is_some(), "{json}");
        }
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        for json in [
            "",
            "{}",
            r#"{"event":{"to":"all","event":"a\nb","data":"x"}}"#,
            r#"{"event":{"to":{"user":""},"event":"message","data":"x"}}"#,
            r#"{"event":{"to":{"topic":"a//b"},"event":"message","data":"x"}}"#,
            r#"{"session":{"user":"1","keep":"","at_unix_ms":1,"data":"x"}}"#,
        ] {
            let read = Stored::from_json(json).and_then(|stored| stored.record());
            assert!(read.is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was_stored(
            users in prop::collection::vec("[^\\p{Cc}]{1,9}", 0..4),
            topic in "[a-zé]{1,9}(/[a-z0-9]{1,3})?",
            keep in prop::option::of("[^\\p{Cc}]{1,9}"),
            data in "\\PC{0,9}(\\r|\\n|\u{0}|\"|\\\\)?\\PC{0,9}",
        ) {
            let name = EventName::new("näme").unwrap();
            let ids: Vec<UserId> = users.iter().map(|user| UserId::new(user).unwrap()).collect();
            let mut targets = vec![Target::All, Target::Topic(Topic::parse(&topic).unwrap())];
            targets.extend(ids.first().cloned().map(Target::User));
            targets.push(Target::Users(Users::new(ids)));
            for to in targets {
                let (_, record) = round_trip(&Stored::event(&to, &name, &data));
                let Record::Event { to: read, name: read_name, data: read_data, is_kept: true } = record else {
                    panic!("another kind")
                };
                prop_assert_eq!(read, to);
                prop_assert_eq!(read_name.as_str(), name.as_str());
                prop_assert_eq!(&*read_data, data.as_str());
            }
            let change = SessionChange {
                user: UserId::new("1").unwrap(),
                keep: keep.as_deref().map(Into::into),
                at_unix_ms: 5,
            };
            let (_, record) = round_trip(&Stored::session(&change, &data));
            let Record::Session { change: read, data: read_data } = record else {
                panic!("another kind")
            };
            prop_assert_eq!(read, change);
            prop_assert_eq!(&*read_data, data.as_str());
        }
    }
}
