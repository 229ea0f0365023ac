use super::*;
use crate::config::History;
use crate::engine::durable::session_log::{Change, ChangeKind, SessionLog};
use crate::engine::durable::store::Row;
use crate::engine::durable::tests::log_of;
use crate::engine::durable::writer::WriterParts;
use crate::event::{Draft, EventName, SessionDraft, Target, UserId};
use crate::hub::directory::Rules;
use crate::hub::engine::EngineHealth;
use crate::hub::log::{Control, Log, Receipt};
use std::sync::mpsc::sync_channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::Span;

const USER: &str = "43";

fn logged_out_at(ms: u64) -> String {
    to_json(&Standing::logged_out(
        ms,
        Rules::of(&crate::config::Auth::default()),
    ))
}

fn writer(directory: &std::path::Path, clock: &Clock) -> Writer {
    let history = History::default();
    let origin = EventId { ms: 1_000, seq: 0 };
    let log = Arc::new(Log::new(1 << 20, Duration::from_secs(600), origin));
    let (bounds, clock) = (Bounds::default(), clock.clone());
    let tail = Tail::new(log, clock.clone());
    let (users, health) = (Arc::default(), Arc::default());
    let parts = WriterParts {
        path: directory.to_owned(),
        history,
        bounds,
        tail,
        directory: users,
        clock,
        health,
        lock_patience: Duration::ZERO,
    };
    Writer::open(parts).unwrap()
}

fn store(writer: &mut Writer, standing: String) {
    let user = USER.to_owned();
    let number = writer.disk.changes() + 1;
    let row = Row::Session {
        number,
        user,
        standing,
    };
    let (last_id, limits) = (writer.sequencer.last_id(), writer.limits());
    writer.disk.commit(&[row], last_id, limits).unwrap();
}

#[test]
fn a_sweep_drops_what_is_over_but_no_change_that_waits_for_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000);
    let mut writer = writer(directory.path(), &clock);
    store(&mut writer, logged_out_at(1_000));
    clock.advance(Duration::from_secs(60 * 24 * 60 * 60));
    // A change that only the session log has, as if the database were locked.
    let (number, id) = (writer.disk.changes() + 1, writer.sequencer.next_id());
    let kind = ChangeKind::Session {
        user: USER.to_owned(),
        standing: logged_out_at(clock.unix_ms()),
    };
    let changes = [Change::new(number, id, kind)];
    writer.disk.log_changes(&changes).unwrap();
    writer.disk.keep(&changes, id);
    writer.sweep();
    let is_current = |writer: &Writer| {
        writer.disk.standing(USER).unwrap() == Some(logged_out_at(clock.unix_ms()))
    };
    assert!(is_current(&writer));
    writer.tick();
    assert!(is_current(&writer) && !writer.disk.has_pending());
    writer.sweep();
    assert!(is_current(&writer));
    clock.advance(Duration::from_secs(60 * 24 * 60 * 60));
    writer.sweep();
    assert_eq!(writer.disk.standing(USER).unwrap(), None);
}

#[test]
fn a_write_ahead_log_that_a_reader_keeps_long_causes_one_warning() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000);
    let mut writer = writer(directory.path(), &clock);
    writer.bounds.wal_warn_bytes = 64 << 10;
    let warnings = |writer: &mut Writer| {
        let log = log_of(|| (0..3).for_each(|_| writer.tick()));
        log.matches("the write-ahead log grows").count()
    };
    store(&mut writer, logged_out_at(1_000));
    assert_eq!(warnings(&mut writer), 0);
    let reader = rusqlite::Connection::open(directory.path().join("history.sqlite")).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM events")
        .unwrap();
    (0..30).for_each(|_| store(&mut writer, logged_out_at(1_000)));
    assert_eq!(warnings(&mut writer), 1);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(warnings(&mut writer), 0);
    assert!(!writer.is_wal_long);
}

#[test]
fn changes_that_wait_for_the_database_stay_in_the_session_log_however_long_it_is() {
    const CHANGES: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &Clock::manual(1_000));
    for _ in 0..CHANGES {
        let (number, id) = (writer.disk.changes() + 1, writer.sequencer.next_id());
        let kind = ChangeKind::Session {
            user: USER.to_owned(),
            standing: logged_out_at(1_000),
        };
        let change = [Change::new(number, id, kind)];
        writer.disk.log_changes(&change).unwrap();
        writer.disk.keep(&change, id);
    }
    // A checkpoint works, but the database does not have these changes.
    writer.disk.tidy_log().unwrap();
    let (_, found) = SessionLog::open(directory.path()).unwrap();
    assert_eq!(found.changes.len(), CHANGES);
}

#[test]
fn a_sweep_leaves_a_row_that_was_altered() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000);
    let mut writer = writer(directory.path(), &clock);
    store(&mut writer, logged_out_at(900_000_000_000));
    let database = directory.path().join("history.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    database
        .execute_batch("UPDATE sessions SET standing = replace(standing, '900000000000', '1')")
        .unwrap();
    clock.advance(Duration::from_secs(60 * 24 * 60 * 60));
    writer.sweep();
    // This is damage, which the next start notices.
    assert!(writer.disk.standing(USER).is_err());
}

fn share() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

fn serve<T>(
    writer: &mut Writer,
    request: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Request,
) -> Result<T, EngineError> {
    let (reply, mut answer) = oneshot::channel();
    let (_requests, waiting) = sync_channel(1);
    writer.serve(Work::Store(request(reply)), &waiting);
    answer.try_recv().unwrap()
}

fn publish(writer: &mut Writer) -> Result<Vec<EventId>, EngineError> {
    let draft = Draft {
        to: Target::User(UserId::new("42").unwrap()),
        name: EventName::default(),
        data: "x".into(),
        source_id: None,
        is_kept: true,
    };
    serve(writer, |reply| Request::Publish {
        drafts: vec![draft],
        reply,
        share: share(),
        span: Span::none(),
    })
}

fn log_out(writer: &mut Writer) -> Result<EventId, EngineError> {
    let change = SessionDraft {
        user: UserId::new("42").unwrap(),
        keep: None,
    };
    serve(writer, |reply| Request::ChangeSession {
        change,
        data: "bye".to_owned(),
        reply,
        share: share(),
        span: Span::none(),
    })
}

#[test]
fn while_the_mark_cannot_be_written_log_outs_work_and_no_event_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &Clock::manual(1_000));
    publish(&mut writer).unwrap();
    writer.disk.break_mark(true);
    // This one is stored before the failure is noticed.
    publish(&mut writer).unwrap();
    for _ in 0..2 {
        assert_eq!(
            writer.health.health(),
            EngineHealth::Failing(EngineError::NotStored)
        );
        assert_eq!(publish(&mut writer), Err(EngineError::NotStored));
        log_out(&mut writer).unwrap();
        writer.tick();
    }
    writer.disk.break_mark(false);
    writer.tick();
    assert_eq!(writer.health.health(), EngineHealth::Well);
    publish(&mut writer).unwrap();
}

#[test]
fn a_command_whose_caller_left_is_not_appended() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &Clock::manual(1_000));
    let (_requests, waiting) = sync_channel(1);
    let mut append = |is_wanted: bool| {
        let user = UserId::new("42").unwrap();
        let (receipt, ended) = Receipt::new(share());
        let ended = is_wanted.then_some(ended);
        let work = Work::Append(Control::Disconnect { user }, receipt);
        writer.serve(work, &waiting);
        drop(ended);
        writer.tail.log().head().0
    };
    assert_eq!((append(false), append(true)), (0, 1));
}

#[test]
fn a_database_that_lost_its_end_is_noticed_even_if_the_mark_could_not_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path(), &Clock::manual(1_000));
    publish(&mut writer).unwrap();
    let wal = directory.path().join("history.sqlite-wal");
    let before = std::fs::read(&wal).unwrap();
    writer.disk.break_mark(true);
    publish(&mut writer).unwrap();
    // As a killed process leaves it.
    drop(writer);
    std::fs::write(&wal, before).unwrap();
    let log = log_of(|| drop(self::writer(directory.path(), &Clock::manual(1_000))));
    assert!(log.contains("damaged or not all there"), "{log}");
}
