//! The names of the keys. All that belong to the log have the same hash tag, so a cluster keeps them in one slot. So
//! do all login failures.

use crate::auth::failures::FailureKey;
use crate::engine::sources::SourceKey;

/// The names of the keys under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The log: a stream with one field per entry.
    pub(super) log: String,
    /// The log's epoch and format.
    pub(super) meta: String,
    /// A stream of one entry, the newest beat. It is read together with the log.
    pub(super) beat: String,
    /// The nodes, by the end of their lease.
    pub(super) nodes: String,
    /// What each node says of itself.
    pub(super) said: String,
    /// A stream of questions to all nodes. It is read together with the log.
    pub(super) ask: String,
    /// The users' standings.
    pub(super) standings: String,
    /// What all names begin with.
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}{{log}}{name}");
        Self {
            log: key(""),
            meta: key(":meta"),
            beat: key(":beat"),
            nodes: key(":nodes"),
            said: key(":said"),
            ask: key(":ask"),
            standings: key(":standings"),
            prefix: prefix.to_owned(),
        }
    }

    /// The last group of a writer.
    pub(super) fn writer(&self, writer: &str) -> String {
        format!("{}:writer:{writer}", self.log)
    }

    /// The id of the event that was published under a publisher's own id.
    pub(super) fn source(&self, source: SourceKey) -> String {
        format!("{}:src:{}", self.log, source.to_text())
    }

    /// The user's connections by node.
    pub(super) fn user(&self, user: &str) -> String {
        format!("{}user:{{{user}}}", self.prefix)
    }

    /// How many connections each node has ended for a control entry.
    pub(super) fn ended(&self, asked_by: &str, number: u64) -> String {
        format!("{}:ended:{asked_by}:{number}", self.log)
    }

    /// What each node has answered to a question.
    pub(super) fn answers(&self, asked_by: &str, number: u64) -> String {
        format!("{}:answer:{asked_by}:{number}", self.log)
    }

    /// The ticket of this name. A cluster may put each on another server.
    pub(super) fn ticket(&self, name: &str) -> String {
        format!("{}ticket:{{{name}}}", self.prefix)
    }

    /// The names of a user's tickets.
    pub(super) fn tickets_of(&self, user: &str) -> String {
        format!("{}tickets:{{{user}}}", self.prefix)
    }

    /// The login failures of an account or an address. All are in one slot, because one script counts several.
    pub(super) fn failures(&self, of: FailureKey) -> String {
        format!("{}{{fail}}:{of}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_the_log_have_its_hash_tag() {
        let keys = Keys::new("app:");
        assert_eq!(keys.log, "app:{log}");
        let source = SourceKey::from_text("AAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let made = [
            keys.writer("a"),
            keys.source(source),
            keys.ended("a", 1),
            keys.answers("a", 1),
            keys.ask,
            keys.meta,
            keys.beat,
            keys.nodes,
            keys.said,
            keys.standings,
        ];
        for key in made {
            assert!(key.starts_with("app:{log}:"), "{key}");
        }
    }

    #[test]
    fn login_failures_share_a_slot_and_tickets_do_not() {
        let keys = Keys::new("app:");
        let failures = keys.failures(FailureKey::account("a@example.com"));
        assert!(failures.starts_with("app:{fail}:account:"), "{failures}");
        assert_eq!(keys.ticket("x"), "app:ticket:{x}");
        assert_eq!(keys.tickets_of("x"), "app:tickets:{x}");
    }
}
