//! A commit in the making: the rows to store, the log entries that follow, and the requests to answer.

use tracing::Span;

use super::request::Request;
use crate::clock::Clock;
use crate::engine::durable::session_log::{Change, ChangeKind};
use crate::engine::durable::store::Row;
use crate::engine::record::Stored;
use crate::engine::sources::SourceKey;
use crate::event::{Draft, EventId, SessionChange};
use crate::hub::engine::MAX_DRAFTS;
use crate::hub::log::{Control, Receipt, Record};
use crate::spans;

/// Most events in one commit. With more, the first request would wait longer than a shared commit saves.
const MAX_EVENTS: usize = 4 * MAX_DRAFTS;
/// Most bytes of event data in one commit, unless a single request is larger.
const MAX_DATA_BYTES: usize = 4 << 20;

/// The contents of one commit.
#[derive(Default)]
pub(super) struct Group {
    pub(super) rows: Vec<Row>,
    /// Session changes. Their rows are among `rows`, too.
    pub(super) changes: Vec<Change>,
    /// Entries for the log, in the order of their ids. They are appended after the commit.
    pub(super) entries: Vec<(EventId, Record)>,
    /// The requests, each with the ids of its events.
    pub(super) requests: Vec<(Request, Vec<EventId>)>,
    /// Number of publishers' ids among the rows.
    pub(super) sources: usize,
    data_bytes: usize,
}

impl Group {
    /// Returns true if no more requests fit.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_EVENTS || self.data_bytes >= MAX_DATA_BYTES
    }

    /// Returns true if there is nothing to store, append or answer.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.requests.is_empty()
    }

    /// One span per request, so that every caller's trace shows the commit it waited for.
    pub(super) fn spans(&self) -> Vec<Span> {
        let spans = self.requests.iter();
        let spans = spans.map(|(request, _)| spans::commit(request.span(), self.entries.len()));
        spans.collect()
    }

    /// The standing of `user` after the session changes in this group; `None` if it has none for that user.
    pub(super) fn standing(&self, user: &str) -> Option<&str> {
        self.rows.iter().rev().find_map(|row| match row {
            Row::Session {
                user: other,
                standing,
                ..
            } if other == user => Some(standing.as_str()),
            _ => None,
        })
    }

    /// Adds an event that was not published before.
    pub(super) fn add_event(&mut self, id: EventId, draft: &Draft, clock: &Clock) {
        let Draft {
            to,
            name,
            data,
            is_kept,
            ..
        } = draft;
        if *is_kept {
            self.rows.push(Row::Event {
                id,
                entry: Stored::event(to, name, data).to_json(),
            });
        }
        if let Some(key) = SourceKey::of(draft) {
            self.rows.push(Row::Source {
                source: key.to_text(),
                id,
                seen_ms: clock.unix_ms(),
            });
            self.sources += 1;
        }
        self.data_bytes += data.len();
        self.entries.push((id, Record::from(draft.clone())));
    }

    /// Adds the session change with this number. `standing` is the user's standing after it, as JSON; `data` is the
    /// data of the `FORCE_LOGOUT` event.
    pub(super) fn add_session(
        &mut self,
        number: u64,
        id: EventId,
        change: SessionChange,
        standing: String,
        data: &str,
    ) {
        let user = change.user.as_str();
        self.rows.push(Row::Event {
            id,
            entry: Stored::session(&change, data).to_json(),
        });
        self.rows.push(Row::Session {
            number,
            user: user.to_owned(),
            standing: standing.clone(),
        });
        let kind = ChangeKind::Session {
            user: user.to_owned(),
            standing,
        };
        self.changes.push(Change::new(number, id, kind));
        let data = data.into();
        self.entries.push((id, Record::Session { change, data }));
    }

    /// Adds a control entry, which is not stored.
    pub(super) fn add_control(&mut self, id: EventId, control: Control, receipt: Receipt) {
        let record = Record::Control { control, receipt };
        self.entries.push((id, record));
    }
}
