//! One-time tickets that work on all nodes. Redis keeps each under a hash of its text, and drops it when its time
//! is over.
//!
//! A second key per user names the user's tickets, so that a user cannot fill the store. It is in another slot of a
//! cluster than the tickets, so it is not changed in the same step: a ticket that was used counts until it would have
//! expired.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::Cmd;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::patience;
use crate::auth::ticket::{MAX_BYTES_PER_USER, MAX_TICKETS_PER_USER};
use crate::auth::{Identity, Issued, IssuedAt, random_name};
use crate::clock::millis;
use crate::engine::redis::core::Core;
use crate::engine::redis::scripts;
use crate::hub::engine::{EngineError, Promise};
use crate::topic::TopicPattern;

/// Length of a ticket, as [`random_name`] makes it.
const TICKET_CHARS: usize = 43;
/// What Redis adds to a ticket: its key, its expiry, and its place among the user's tickets.
const TICKET_BYTES: usize = 300;

/// The tickets of all nodes.
pub(super) struct SharedTickets {
    core: Arc<Core>,
}

impl SharedTickets {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// See [`Register::issue_ticket`](crate::hub::engine::Register::issue_ticket).
    pub(super) fn issue(
        &self,
        identity: &Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>> {
        let life_ms = millis(ttl).max(1);
        let until_ms = self.core.unix_ms().saturating_add(life_ms);
        let json = StoredTicket::new(identity, until_ms).to_json();
        let user = half_hash(&identity.user);
        Promise::Later(Box::pin(async move {
            let ticket = random_name();
            let name = half_hash(&ticket);
            let keys = &self.core.keys;
            let mut note = scripts::NOTE_TICKET.prepare_invoke();
            note.key(keys.tickets_of(&user));
            note.arg(&name)
                .arg(json.len() + TICKET_BYTES)
                .arg(life_ms)
                .arg(MAX_TICKETS_PER_USER)
                .arg(MAX_BYTES_PER_USER);
            let mut set = redis::cmd("SET");
            set.arg(keys.ticket(&name)).arg(json);
            set.arg("PX").arg(life_ms);
            let stored = patience::ask(&self.core, |spread| async move {
                let forgotten: Vec<String> = spread.run(&note).await?;
                spread.call::<()>(&set).await?;
                for name in forgotten {
                    let mut drop = redis::cmd("DEL");
                    drop.arg(keys.ticket(&name));
                    spread.call::<()>(&drop).await?;
                }
                Ok(())
            });
            stored.await.map(|()| ticket)
        }))
    }

    /// See [`Register::redeem_ticket`](crate::hub::engine::Register::redeem_ticket).
    pub(super) fn redeem(
        &self,
        ticket: &str,
    ) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        self.find(redis::cmd("GETDEL"), ticket)
    }

    /// See [`Register::look_at_ticket`](crate::hub::engine::Register::look_at_ticket).
    pub(super) fn look(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        self.find(redis::cmd("GET"), ticket)
    }

    fn find(
        &self,
        mut get: Cmd,
        ticket: &str,
    ) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        // What cannot be a ticket costs no round trip.
        if ticket.len() != TICKET_CHARS {
            return Promise::Now(Ok(None));
        }
        get.arg(self.core.keys.ticket(&half_hash(ticket)));
        Promise::Later(Box::pin(async move {
            let found = patience::ask(&self.core, |spread| async move {
                spread.call::<Option<String>>(&get).await
            });
            let Some(json) = found.await? else {
                return Ok(None);
            };
            // Another program wrote it if it cannot be read.
            let stored = serde_json::from_str::<StoredTicket>(&json).ok();
            let stored = stored.filter(|stored| self.core.unix_ms() < stored.until_ms);
            Ok(stored.map(StoredTicket::into_identity))
        }))
    }
}

/// Half of a SHA-256, of a ticket or a user: 128 bits cannot be guessed.
fn half_hash(text: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(text).into();
    let (half, _) = hash.split_at(16);
    URL_SAFE_NO_PAD.encode(half)
}

/// A ticket in the store. A later version may add fields.
#[derive(Debug, Serialize, Deserialize)]
struct StoredTicket {
    /// When it expires, in the Unix milliseconds that all nodes share. Redis drops it at the same time, unless a test
    /// has moved the server's clock.
    until_ms: u64,
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Box<str>>,
    /// When the token was issued, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_ms: Option<u64>,
    expires_s: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    topics: Vec<String>,
}

impl StoredTicket {
    fn new(identity: &Identity, until_ms: u64) -> Self {
        Self {
            until_ms,
            user: identity.user.to_string(),
            session: identity.session.clone(),
            issued_ms: identity.issued.map(|issued| match issued {
                Issued::Token(at) => at.unix_ms(),
                // The position means something in this node's log only. The answer counts as older than all changes
                // of the user's session. No route issues a ticket for one.
                Issued::Answer(_) => 0,
            }),
            expires_s: identity.expires_at,
            topics: identity
                .topics
                .iter()
                .map(|topic| topic.as_str().to_owned())
                .collect(),
        }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers serialise")
    }

    fn into_identity(self) -> Identity {
        let topics = self.topics.iter();
        Identity {
            user: self.user.into(),
            session: self.session,
            issued: self
                .issued_ms
                .map(|ms| Issued::Token(IssuedAt::from_unix_ms(ms))),
            expires_at: self.expires_s,
            // A later version may know patterns that this one does not. Without them, the client gets less.
            topics: topics
                .filter_map(|topic| TopicPattern::parse(topic).ok())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;

    fn identity(issued: Option<Issued>) -> Identity {
        Identity {
            user: "42".into(),
            session: Some("phone".into()),
            issued,
            expires_at: Identity::NO_END,
            topics: ["a/*", "b"]
                .map(|topic| TopicPattern::parse(topic).unwrap())
                .into(),
        }
    }

    fn again(identity: &Identity) -> Identity {
        let json = StoredTicket::new(identity, 7).to_json();
        let stored: StoredTicket = serde_json::from_str(&json).unwrap();
        assert_eq!(stored.until_ms, 7);
        stored.into_identity()
    }

    #[test]
    fn an_identity_comes_back_from_the_store() {
        for issued in [None, Some(Issued::Token(IssuedAt::from_unix_ms(5)))] {
            let before = identity(issued);
            let after = again(&before);
            assert_eq!(after.user, before.user);
            assert_eq!(after.session, before.session);
            assert_eq!(after.issued, before.issued);
            assert_eq!(after.expires_at, before.expires_at);
            assert_eq!(after.topics, before.topics);
        }
    }

    #[test]
    fn an_answer_of_the_application_counts_as_older_than_any_session_change() {
        let after = again(&identity(Some(Issued::Answer(Position(9)))));
        assert_eq!(after.issued, Some(Issued::Token(IssuedAt::from_unix_ms(0))));
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let json = r#"{"until_ms":1,"user":"42","expires_s":9,"more":{}}"#;
        let stored: StoredTicket = serde_json::from_str(json).unwrap();
        assert_eq!(stored.into_identity().user, "42");
    }
}
