//! Writes back what the store has lost of users' sessions, because a revoked token must stay revoked.
//!
//! The tag of a user's row tells how far that is. A standing that was written back has the node's name as a writer.
//! When a lost change is appended again, its number follows: `writer:write-back.change`. So after a failure, nothing is
//! appended twice, and nothing is left out.

use redis::RedisError;

use super::core::{Attached, Core};
use super::scripts;
use super::sessions::{Attempt, UserRow, store, to_json};
use crate::engine::reconcile::LostChange;
use crate::engine::record::Stored;
use crate::event::EventId;

/// Standings that are written at once.
const ROWS: usize = 1_000;

/// What this node has to write back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WriteBack {
    /// Names it among those of this process.
    number: u64,
    /// The changes that the store has lost, oldest first. A log that has nothing in common with this node's may have
    /// lost standings without any.
    changes: Vec<LostChange>,
    /// Everything was written back, up to this entry. When this node has read that far, the store has it for good, or
    /// its loss will be noticed.
    until: Option<EventId>,
}

impl WriteBack {
    /// Adds changes to what is owed already.
    pub(super) fn owe(owed: &mut Option<Self>, number: u64, lost: Vec<LostChange>) {
        let owed = owed.get_or_insert_with(|| Self {
            number,
            changes: Vec::new(),
            until: None,
        });
        for change in lost {
            if !owed.changes.contains(&change) {
                owed.changes.push(change);
            }
        }
        owed.until = None;
    }

    /// Forgets what the store has for good. `seen` is the newest entry that was read over the last connection. What
    /// is left has to be written again over the next one.
    pub(super) fn settle(owed: &mut Option<Self>, seen: EventId) {
        match owed.as_ref().and_then(|owed| owed.until) {
            Some(until) if until <= seen => *owed = None,
            _ => owed.iter_mut().for_each(|owed| owed.until = None),
        }
    }

    /// Writes back, unless that was done over this connection: first all standings that this node remembers, dated with
    /// `at`; then the lost changes, so that nodes which have not seen them apply them.
    pub(super) async fn run(
        &mut self,
        core: &Core,
        attached: &Attached,
        at: EventId,
    ) -> Result<(), RedisError> {
        if self.until.is_some() {
            return Ok(());
        }
        adopt(core, attached, at).await?;
        let mut until = at;
        for (number, lost) in self.changes.iter().enumerate() {
            if let Some(id) = self.repeat(core, attached, number, lost).await? {
                until = until.max(id);
            }
        }
        self.until = Some(until);
        Ok(())
    }

    /// Appends a lost change again, with its date. `None` if that was done before, or if another node has changed the
    /// standing or written it back.
    async fn repeat(
        &self,
        core: &Core,
        attached: &Attached,
        number: usize,
        lost: &LostChange,
    ) -> Result<Option<EventId>, RedisError> {
        let user = lost.change.user.as_str();
        let mut get = redis::cmd("HGET");
        get.arg(&core.keys.standings).arg(user);
        let row: Option<String> = attached.write.clone().call(&get).await?;
        let text = row.unwrap_or_default();
        let Some(row) = UserRow::parse(user.to_owned(), text) else {
            return Ok(None);
        };
        if !self.is_due(number, &row.tag, &core.writer) {
            return Ok(None);
        }
        let tag = self.tag(number, &core.writer);
        let entry = Stored::session(&lost.change, &lost.data).to_json();
        let stored = store(core, attached, user, &row.text, &tag, &row.standing, &entry);
        Ok(match stored.await? {
            Attempt::Stored(id) => Some(id),
            Attempt::Overtaken => None,
        })
    }

    /// Returns true if the change of this number has to be appended, given the tag of its user's row.
    fn is_due(&self, number: usize, tag: &str, writer: &str) -> bool {
        let Some(after) = tag.strip_prefix(writer) else {
            return false;
        };
        let done = after.strip_prefix(':').and_then(|it| it.split_once('.'));
        match done {
            Some((of, done)) => {
                let is_this = of.parse() == Ok(self.number);
                is_this && done.parse().is_ok_and(|done: usize| done < number)
            }
            // Written back, and not changed since.
            None => after.is_empty(),
        }
    }

    fn tag(&self, number: usize, writer: &str) -> String {
        format!("{writer}:{}.{number}", self.number)
    }
}

/// Writes back all standings that this node remembers. A newer one in the store stays.
async fn adopt(core: &Core, attached: &Attached, at: EventId) -> Result<(), RedisError> {
    let mut known: Vec<(String, String)> = Vec::new();
    core.directory.standings(|user, standing| {
        known.push((user.to_string(), to_json(standing)));
    });
    let mut link = attached.write.clone();
    for some in known.chunks(ROWS) {
        let mut call = scripts::ADOPT.prepare_invoke();
        call.key(&core.keys.meta).key(&core.keys.standings);
        call.arg(&*attached.epoch)
            .arg(at.to_string())
            .arg(&core.writer);
        for (user, standing) in some {
            call.arg(user).arg(standing);
        }
        call.invoke_async::<u64>(link.connection()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SessionChange, UserId};

    fn log_out(at_unix_ms: u64) -> LostChange {
        LostChange {
            change: SessionChange {
                user: UserId::new("42").unwrap(),
                keep: None,
                at_unix_ms,
            },
            data: "".into(),
        }
    }

    fn id(seq: u64) -> EventId {
        EventId { ms: 1, seq }
    }

    #[test]
    fn a_write_back_goes_on_where_it_stopped() {
        let mut owed = None;
        WriteBack::owe(&mut owed, 7, [1, 2, 3].map(log_out).into());
        let owed = owed.unwrap();
        let writer = "node-00112233";
        let due = |tag: &str| [0, 1, 2].map(|number| owed.is_due(number, tag, writer));
        assert_eq!(due(writer), [true, true, true]);
        assert_eq!(due(&owed.tag(0, writer)), [false, true, true]);
        assert_eq!(due(&owed.tag(2, writer)), [false, false, false]);
        // A later change, an earlier write-back, and those of other nodes.
        for tag in [
            "node-00112233:8",
            "node-00112233:6.0",
            "other-00112233",
            "node-00112233-44556677",
            "node-00112233-44556677:7.0",
        ] {
            assert_eq!(due(tag), [false, false, false], "{tag}");
        }
    }

    #[test]
    fn it_is_owed_until_this_node_has_read_what_was_written() {
        let mut owed = None;
        WriteBack::settle(&mut owed, id(9));
        assert_eq!(owed, None);
        WriteBack::owe(&mut owed, 7, vec![log_out(1)]);
        WriteBack::settle(&mut owed, id(9));
        owed.as_mut().unwrap().until = Some(id(5));
        WriteBack::settle(&mut owed, id(4));
        assert_eq!(owed.as_ref().unwrap().until, None, "it is written again");
        // More is lost meanwhile, and some of it was known as lost.
        owed.as_mut().unwrap().until = Some(id(5));
        WriteBack::owe(&mut owed, 8, vec![log_out(1), log_out(2)]);
        let both = WriteBack {
            number: 7,
            changes: vec![log_out(1), log_out(2)],
            until: None,
        };
        assert_eq!(owed, Some(both));
        owed.as_mut().unwrap().until = Some(id(5));
        WriteBack::settle(&mut owed, id(5));
        assert_eq!(owed, None);
    }
}
