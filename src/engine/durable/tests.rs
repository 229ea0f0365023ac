use super::bounds::Bounds;
use super::health::HistoryState;
use super::{DurableEngine, store};
use crate::clock::Clock;
use crate::config::History;
use crate::event::Draft;
use crate::hub::Hub;
use crate::hub::directory::Directory;
use crate::hub::engine::{Engine, EngineError, EngineHealth, LocalNode, Notice};
use crate::hub::log::{Control, Log, Record};
use std::sync::{Arc, Weak};

mod damage;
mod dispatch;
mod fuzz;
mod handover;

use crate::auth::{Identity, Issued, IssuedAt};
use crate::config::{Fsync, OnDamage};
use crate::event::{EventId, EventName, SessionChange, SessionDraft, Target, UserId, Users};
use crate::hub::log::{JoinRequest, PieceLimit, Progress};
use std::path::Path;
use std::time::Duration;

/// What this thread logs during `act`.
pub(super) fn log_of(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = lines.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

/// Nobody asks an engine of one node.
fn no_node() -> Weak<dyn LocalNode> {
    Weak::<Hub>::new()
}

/// The life of a process: what it keeps in memory, and the engine for a directory.
struct Life {
    engine: DurableEngine,
    log: Arc<Log>,
    directory: Arc<Directory>,
    clock: Clock,
}

impl Life {
    async fn begin(path: &Path, fsync: Fsync, unix_ms: u64) -> Self {
        let life = Self::new(path, fsync, unix_ms);
        life.engine.open(no_node()).await.unwrap();
        life
    }

    fn new(path: &Path, fsync: Fsync, unix_ms: u64) -> Self {
        Self::with(path, unix_ms, |history| history.fsync = fsync)
    }

    fn with(path: &Path, unix_ms: u64, set: impl FnOnce(&mut History)) -> Self {
        let clock = Clock::manual(unix_ms);
        let mut history = History::default();
        set(&mut history);
        let origin = EventId {
            ms: unix_ms,
            seq: 0,
        };
        let log = Arc::new(Log::new(1 << 20, Duration::from_secs(600), origin));
        let directory = Arc::new(Directory::default());
        let engine = DurableEngine::new(
            path.to_owned(),
            history,
            Arc::clone(&log),
            Arc::clone(&directory),
            clock.clone(),
        );
        Self {
            engine,
            log,
            directory,
            clock,
        }
    }

    async fn publish(
        &self,
        source_id: Option<&str>,
        is_kept: bool,
    ) -> Result<EventId, EngineError> {
        let draft = Draft {
            to: Target::User(UserId::new("42").unwrap()),
            name: EventName::default(),
            data: "x".into(),
            source_id: source_id.map(Into::into),
            is_kept,
        };
        self.engine.publish(vec![draft]).await.remove(0)
    }

    async fn change_session(&self, keep: Option<&str>) -> EventId {
        self.change("42", keep).await.unwrap()
    }

    async fn change_session_of(&self, user: &str, keep: Option<&str>) -> EventId {
        self.change(user, keep).await.unwrap()
    }

    /// Changes a session, and does what the dispatcher would do with the entry.
    async fn change(&self, user: &str, keep: Option<&str>) -> Result<EventId, EngineError> {
        let change = SessionChange {
            user: UserId::new(user).unwrap(),
            keep: keep.map(Into::into),
            at_unix_ms: self.clock.unix_ms(),
        };
        let notice = Notice {
            message: "bye".to_owned(),
            reason: "test".to_owned(),
        };
        let draft = SessionDraft {
            user: change.user.clone(),
            keep: change.keep.clone(),
        };
        let id = self.engine.change_session(draft, notice).await?;
        self.directory
            .change_session(&change, id.ms, self.log.head());
        Ok(id)
    }

    /// Asks for the end of a user's connections. The dispatcher answers that there were seven.
    async fn disconnect(&self) -> Result<u64, EngineError> {
        let user = UserId::new("42").unwrap();
        let dispatcher = async {
            loop {
                for entry in self.log.next_batch(1_024).await {
                    if let Record::Control { receipt, .. } = &entry.record {
                        receipt.give(7);
                    }
                    self.log.mark_dispatched(&entry, self.clock.now_ms());
                }
            }
        };
        tokio::select! {
            ended = self.engine.command(Control::Disconnect { user }) => ended,
            () = dispatcher => unreachable!(),
        }
    }

    fn allows(&self, session: Option<&str>, issued_unix_ms: u64) -> bool {
        self.lets_in("42", session, issued_unix_ms)
    }

    fn lets_in(&self, user: &str, session: Option<&str>, issued_unix_ms: u64) -> bool {
        self.directory.allows(&Identity {
            user: user.into(),
            session: session.map(Into::into),
            issued: Some(Issued::Token(IssuedAt::from_unix_ms(issued_unix_ms))),
            expires_at: u64::MAX,
            topics: Box::default(),
        })
    }

    /// What a client that was at `last` gets; `None` if it gets a gap.
    fn missed(&self, last: EventId) -> Option<Vec<EventId>> {
        let (gap, ids) = self.come_back(last);
        gap.is_none().then_some(ids)
    }

    /// For a client that was at `last`: its new position if it gets a gap, and the events that it gets.
    fn come_back(&self, last: EventId) -> (Option<EventId>, Vec<EventId>) {
        let id = last.to_string();
        let joined = self.log.join(&JoinRequest {
            user: "42",
            session: None,
            topics: &[],
            last_event_id: Some(&id),
            settled: self.log.head(),
        });
        let mut ids = Vec::new();
        if let Some(mut replay) = joined.replay {
            let mut piece = Vec::new();
            let limit = PieceLimit {
                entries: 10_000,
                bytes: usize::MAX,
            };
            while let Progress::More = self.log.replay(&mut replay, limit, &mut piece) {}
            ids.extend(piece.iter().map(|entry| entry.id));
        }
        (joined.gap.map(|_| joined.id), ids)
    }
}

#[tokio::test]
async fn a_restart_keeps_ids_events_sessions_and_publishers_ids() {
    for fsync in [Fsync::Interval, Fsync::Always] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let life = Life::begin(&path, fsync, 1_000_000).await;
        let first = life.publish(None, true).await.unwrap();
        let second = life.publish(Some("a"), true).await.unwrap();
        let fleeting = life.publish(Some("b"), false).await.unwrap();
        let change = life.change_session(Some("new")).await;
        life.engine.close().await;
        assert_eq!(life.publish(None, true).await, Err(EngineError::NotOpen));

        // The clock was set back meanwhile.
        let life = Life::begin(&path, fsync, 900_000).await;
        assert_eq!(life.log.retained().1, 3);
        assert_eq!(life.missed(first), Some(vec![second]));
        assert_eq!(life.publish(Some("a"), true).await, Ok(second));
        assert_eq!(life.publish(Some("b"), true).await, Ok(fleeting));
        let third = life.publish(None, true).await.unwrap();
        assert!(third > change && change > second);
        assert_eq!(life.missed(change), Some(vec![third]));
        assert!(life.allows(Some("new"), 1_000_000));
        assert!(!life.allows(Some("old"), 2_000_000));
        assert!(!life.allows(None, 1_000_000) && life.allows(None, 1_000_001));
        // A log-out still holds after a new session is named, with or without a restart between them.
        life.clock.advance(Duration::from_secs(300));
        life.change_session(None).await;
        life.engine.close().await;
        let life = Life::begin(&path, fsync, 1_250_000).await;
        life.change_session(Some("new")).await;
        life.engine.close().await;
        let life = Life::begin(&path, fsync, 1_260_000).await;
        assert!(!life.allows(Some("new"), 1_100_000));
        assert!(!life.allows(Some("new"), 1_205_000));
        assert!(life.allows(Some("new"), 1_205_001));
    }
}

#[tokio::test]
async fn what_is_too_old_at_a_restart_is_gone_and_ids_still_rise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let older = life.publish(None, true).await.unwrap();
    let old = life.publish(Some("a"), true).await.unwrap();
    life.clock.advance(Duration::from_secs(500));
    let young = life.publish(None, true).await.unwrap();
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 1_700_000).await;
    assert_eq!(life.log.retained().1, 1);
    assert_eq!(
        (life.missed(older), life.missed(young)),
        (None, Some(vec![]))
    );
    // Nothing that is gone came after this one.
    assert_eq!(life.missed(old), Some(vec![young]));
    let last = life.publish(Some("a"), true).await.unwrap();
    assert_ne!(last, old);
    life.engine.close().await;
    // All of it is too old, or the clock is wrong. What was retained is kept for another `max_age`.
    let life = Life::begin(&path, Fsync::Interval, 9_000_000).await;
    assert_eq!(life.missed(young), Some(vec![last]));
    life.clock.advance(Duration::from_secs(601));
    life.log.expire(life.clock.now_ms());
    assert_eq!(life.log.retained().1, 0);
    assert_eq!(life.missed(last), Some(vec![]));
    life.engine.close().await;
    // Nothing of it is left, and the clock is before its beginning.
    let life = Life::begin(&path, Fsync::Interval, 500_000).await;
    assert!(life.publish(None, true).await.unwrap() > young);
}

#[tokio::test]
async fn where_a_history_begins_is_known_after_restarts() {
    for fsync in [Fsync::Interval, Fsync::Always] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let life = Life::begin(&path, fsync, 1_000_000).await;
        let origin = life.log.dispatched_cursor().id;
        // As a killed process leaves it.
        let copy = directory.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        damage::copy(&path, &copy);
        drop(life);
        let life = Life::begin(&copy, fsync, 2_000_000).await;
        assert_eq!(life.log.dispatched_cursor().id, origin);
        assert_eq!(life.log.retained().1, 0);
        let first = life.publish(None, true).await.unwrap();
        let second = life.publish(None, true).await.unwrap();
        life.engine.close().await;
        let life = Life::begin(&copy, fsync, 2_500_000).await;
        assert_eq!(life.missed(origin), Some(vec![first, second]));
        assert_eq!(life.log.retained().1, 2);
        // Another id is not known there.
        let other = EventId { seq: 1, ..origin };
        assert_eq!(life.missed(other), None);
        life.engine.close().await;
        // A history of an earlier version begins with an event.
        let database = rusqlite::Connection::open(copy.join("history.sqlite")).unwrap();
        database
            .execute("DELETE FROM events WHERE n = 1", [])
            .unwrap();
        drop(database);
        let life = Life::begin(&copy, fsync, 2_500_000).await;
        assert_eq!(life.missed(origin), None);
        assert_eq!(life.missed(first), Some(vec![second]));
        assert_eq!(life.log.retained().1, 2);
    }
}

#[tokio::test]
async fn events_that_are_published_at_once_are_stored_in_the_order_of_their_ids() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Arc::new(Life::begin(&path, Fsync::Always, 1_000_000).await);
    let first = life.publish(None, true).await.unwrap();
    let publishers: Vec<_> = (0..20)
        .map(|n| {
            let life = Arc::clone(&life);
            // Pairs of them publish the same event.
            let source_id = format!("s{}", n / 2);
            tokio::spawn(async move { life.publish(Some(&source_id), true).await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for publisher in publishers {
        ids.push(publisher.await.unwrap());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    assert_eq!(life.missed(first).as_ref(), Some(&ids));
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    assert_eq!(life.missed(first), Some(ids));
}

#[tokio::test]
async fn a_directory_in_use_or_unusable_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let second = Life::new(&path, Fsync::Interval, 1_000_000);
    let error = second.engine.open(no_node()).await.unwrap_err().to_string();
    assert!(error.contains("is in use by another server"), "{error}");
    assert_eq!(
        second.engine.health(),
        EngineHealth::Failing(EngineError::NotOpen)
    );
    life.publish(None, true).await.unwrap();
    life.engine.close().await;
    // An entry that is whole, but from another version.
    let mut store = store::Store::open(&path, Fsync::Interval).unwrap();
    let entry = "{\"event\":1}".to_owned();
    let id = EventId {
        ms: 1_000_001,
        seq: 0,
    };
    let limits = store::Retention {
        retained: 10,
        sources_from_ms: 0,
    };
    store
        .commit(&[store::Row::Event { id, entry }], limits)
        .unwrap();
    store.close().unwrap();
    let error = second.engine.open(no_node()).await.unwrap_err().to_string();
    assert!(
        error.contains("events: 1000001-0 cannot be read"),
        "{error}"
    );
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let third = Life::new(&file, Fsync::Interval, 1_000_000);
    let error = third.engine.open(no_node()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("history.path: `") && !error.contains('\n'),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_disk_refuses_is_not_accepted_until_it_can_be_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let first = life.publish(None, true).await.unwrap();
    // Another connection holds the database's write lock: a write fails as on a full disk.
    let blocker = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        life.publish(Some("a"), true).await,
        Err(EngineError::Locked)
    );
    assert_eq!(
        life.engine.health(),
        EngineHealth::Failing(EngineError::Locked)
    );
    // Events that are not stored are refused, too: it is not known whether anything could be stored.
    assert_eq!(life.publish(None, false).await, Err(EngineError::Locked));
    assert_eq!(life.missed(first), Some(vec![]));
    blocker.execute_batch("ROLLBACK").unwrap();
    // Its publisher tries again: the first attempt does not count as published.
    let second = life.publish(Some("a"), true).await.unwrap();
    assert_eq!(life.engine.health(), EngineHealth::Well);
    assert_eq!(life.missed(first), Some(vec![second]));
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    assert_eq!(life.missed(first), Some(vec![second]));
}

#[tokio::test]
async fn connections_are_ended_while_the_disk_refuses_everything_and_no_restart_repeats_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    let first = life.publish(None, true).await.unwrap();
    assert_eq!(life.disconnect().await, Ok(7));
    let blocker = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(life.publish(None, true).await, Err(EngineError::Locked));
    assert_eq!(life.disconnect().await, Ok(7));
    blocker.execute_batch("ROLLBACK").unwrap();
    let second = life.publish(None, true).await.unwrap();
    life.engine.health.set(HistoryState::Gone);
    assert_eq!(life.disconnect().await, Ok(7));
    life.engine.close().await;
    assert_eq!(life.disconnect().await, Err(EngineError::NotOpen));
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    assert_eq!(life.missed(first), Some(vec![second]));
    assert_eq!(life.log.retained().1, 2);
}

#[tokio::test]
async fn after_a_flush_that_failed_nothing_is_accepted_before_all_of_it_was_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let first = life.publish(None, true).await.unwrap();
    // Before the state is set: the writer tries to flush every few milliseconds.
    let blocker = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    life.engine.health.set(HistoryState::Unflushed);
    assert_eq!(
        life.engine.health(),
        EngineHealth::Failing(EngineError::Unflushed)
    );
    assert_eq!(life.publish(None, true).await, Err(EngineError::Unflushed));
    assert_eq!(life.engine.health.get(), HistoryState::Unflushed);
    blocker.execute_batch("ROLLBACK").unwrap();
    let second = life.publish(None, true).await.unwrap();
    assert_eq!(life.engine.health(), EngineHealth::Well);
    assert_eq!(life.missed(first), Some(vec![second]));
}

#[tokio::test]
async fn a_publishers_id_is_on_the_disk_for_as_long_as_it_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let first = life.publish(Some("a"), true).await.unwrap();
    // What need not be kept is removed at the 257th commit. The clocks have moved on by then.
    for _ in 0..300 {
        life.clock.advance(Duration::from_secs(1));
        life.publish(None, true).await.unwrap();
    }
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 1_300_000).await;
    assert_eq!(life.publish(Some("a"), true).await, Ok(first));
}

#[tokio::test]
async fn every_request_is_answered_when_the_engine_closes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Arc::new(Life::begin(&path, Fsync::Always, 1_000_000).await);
    let first = life.publish(None, true).await.unwrap();
    let publishers: Vec<_> = (0..50)
        .map(|_| {
            let life = Arc::clone(&life);
            tokio::spawn(async move { life.publish(None, true).await })
        })
        .collect();
    // The engine closes while they publish. Each is answered, stored or not.
    tokio::task::yield_now().await;
    life.engine.close().await;
    let mut accepted = Vec::new();
    for publisher in publishers {
        match publisher.await.unwrap() {
            Ok(id) => accepted.push(id),
            Err(error) => assert_eq!(error, EngineError::NotOpen),
        }
    }
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    assert_eq!(life.missed(first), Some(accepted));
}

#[tokio::test]
async fn a_publishers_id_belongs_to_its_target_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let to = |users: &[&str]| {
        let users = users.iter().map(|user| UserId::new(user).unwrap());
        Draft {
            to: Target::Users(Users::new(users.collect())),
            name: EventName::default(),
            data: "x".into(),
            source_id: Some("a".into()),
            is_kept: true,
        }
    };
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let drafts = vec![to(&["1", "2"]), to(&["1"]), to(&["2", "1", "1"])];
    let ids = life.engine.publish(drafts).await;
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 1_000_500).await;
    let drafts = vec![to(&["2", "1"]), to(&["1"]), to(&["3"])];
    let again = life.engine.publish(drafts).await;
    assert_eq!(again[..2], ids[..2]);
    assert!(!ids.contains(&again[2]));
}

#[tokio::test]
async fn rows_of_users_who_logged_out_are_removed_once_no_token_is_left() {
    const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let rows = || -> i64 {
        let database = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
        let count = "SELECT count(*) FROM sessions";
        database.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    for user in 0..100 {
        life.change_session_of(&format!("u{user}"), None).await;
    }
    life.change_session(Some("mine")).await;
    assert_eq!(rows(), 101);
    life.clock.advance(Duration::from_millis(MONTH_MS + 11_000));
    // The sweep runs after a commit.
    for _ in 0..2 {
        life.publish(None, true).await.unwrap();
    }
    assert_eq!(rows(), 101);
    life.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        life.publish(None, true).await.unwrap();
    }
    assert_eq!(rows(), 1);
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 1_000_000 + 2 * MONTH_MS).await;
    assert!(life.allows(Some("mine"), 1_000_000) && !life.allows(Some("old"), u64::MAX));
    // A log-out that is over is not restored either.
    life.change_session(None).await;
    life.publish(None, true).await.unwrap();
    life.clock.advance(Duration::from_millis(MONTH_MS + 12_000));
    life.publish(None, true).await.unwrap();
    life.engine.close().await;
    assert!(rows() <= 1);
}

#[tokio::test]
async fn a_clock_that_is_months_ahead_at_a_start_forgets_no_log_out() {
    const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    life.change_session(None).await;
    life.engine.close().await;
    // The second start finds an id that was given out while the clock was fast.
    for _ in 0..2 {
        let life = Life::begin(&path, Fsync::Interval, 1_000_000 + 3 * MONTH_MS).await;
        for _ in 0..2 {
            life.clock.advance(Duration::from_secs(2));
            life.publish(None, true).await.unwrap();
        }
        life.directory
            .sweep(life.directory.time(&life.clock).unix_ms(&life.clock));
        assert!(!life.allows(Some("mine"), 1_000_000));
        life.engine.close().await;
    }
    let life = Life::begin(&path, Fsync::Interval, 1_010_000).await;
    assert!(!life.allows(Some("mine"), 1_000_000));
}
