use super::*;
use crate::engine::durable::mark::Mark;
use crate::engine::durable::session_log::ChangeKind;
use crate::engine::durable::store::StoreState;

fn change(number: u64) -> Change {
    let id = EventId { ms: number, seq: 0 };
    Change::new(number, id, ChangeKind::Everyone { logged_out_ms: 1 })
}

/// A database with this many events and session changes.
fn database(events: i64, changes: u64) -> Verified {
    let mut read = Verified {
        state: StoreState {
            changes,
            everyone_ms: 0,
        },
        are_sessions_sound: true,
        are_sources_sound: true,
        is_structure_sound: true,
        ..Verified::default()
    };
    read.events.last = events;
    read.events.last_id = EventId {
        ms: events.unsigned_abs(),
        seq: 0,
    };
    read
}

fn mark(rows: u64, changes: u64) -> FoundMark {
    FoundMark {
        exists: true,
        is_intact: true,
        mark: Mark {
            rows,
            last_id: EventId { ms: rows, seq: 0 },
            changes,
        },
        is_of_history: true,
    }
}

fn log(numbers: impl Iterator<Item = u64>, newest: u64) -> FoundLog {
    FoundLog {
        exists: true,
        is_clean: true,
        changes: numbers.map(change).collect(),
        newest,
    }
}

#[test]
fn files_that_are_as_they_were_left_are_taken_as_they_are() {
    let assessment = assess(Database::Read(database(9, 5)), &mark(9, 5), log(4..=5, 5));
    assert!(assessment.are_sessions_complete && !assessment.is_damaged && !assessment.is_rebuilt);
    assert_eq!((assessment.events_missing, assessment.replay.len()), (0, 0));
    let assessment = assess(Database::New, &FoundMark::default(), FoundLog::default());
    assert!(assessment.are_sessions_complete && !assessment.is_damaged && !assessment.is_rebuilt);
    let old = Database::Old(database(9, 0));
    let assessment = assess(old, &FoundMark::default(), FoundLog::default());
    assert!(assessment.are_sessions_complete && !assessment.is_damaged && assessment.is_rebuilt);
}

#[test]
fn a_database_that_lost_its_end_gets_the_session_changes_back() {
    let assessment = assess(Database::Read(database(7, 3)), &mark(9, 5), log(2..=5, 5));
    assert!(assessment.are_sessions_complete && assessment.is_damaged && !assessment.is_rebuilt);
    assert_eq!(assessment.replay, [change(4), change(5)]);
    assert_eq!((assessment.events_missing, assessment.last_id.ms), (2, 9));
    assert_eq!(assessment.missing_after.ms, 7);
}

#[test]
fn a_history_is_missed_if_only_its_lock_is_left() {
    let only_lock = FoundMark {
        is_of_history: true,
        ..FoundMark::default()
    };
    for database in [Database::New, Database::Old(database(9, 0))] {
        let assessment = assess(database, &only_lock, FoundLog::default());
        assert!(!assessment.are_sessions_complete && assessment.is_damaged);
    }
}

#[test]
fn a_change_that_is_in_no_file_is_missed() {
    for log in [
        log([2, 3, 5].into_iter(), 5), // a line in the middle
        log(2..=4, 4),                 // the last one
        log(std::iter::empty(), 5),    // emptied
        FoundLog::default(),
    ] {
        let assessment = assess(Database::Read(database(7, 3)), &mark(9, 5), log);
        assert!(
            !assessment.are_sessions_complete && assessment.is_rebuilt && assessment.is_damaged
        );
        assert_eq!(assessment.changes, 5);
    }
    // Only the log knows of it.
    let assessment = assess(
        Database::Read(database(9, 3)),
        &mark(9, 3),
        log(std::iter::empty(), 5),
    );
    assert!(!assessment.are_sessions_complete);
    assert_eq!(assessment.changes, 5);
    // Without a database, all of them would have to be in the log.
    let complete = assess(Database::Unreadable, &mark(9, 5), log(1..=5, 5));
    assert!(complete.are_sessions_complete && complete.is_rebuilt);
    let emptied = assess(Database::New, &mark(9, 5), log(3..=5, 5));
    assert!(!emptied.are_sessions_complete);
}

#[test]
fn one_witness_that_is_whole_to_its_end_is_enough_and_none_is_not() {
    let torn = FoundMark {
        is_intact: false,
        ..mark(9, 5)
    };
    let unclean = || FoundLog {
        is_clean: false,
        ..log(4..=5, 5)
    };
    let whole = || Database::Read(database(9, 5));
    assert!(assess(whole(), &torn, log(4..=5, 5)).are_sessions_complete);
    assert!(assess(whole(), &mark(9, 5), unclean()).are_sessions_complete);
    assert!(!assess(whole(), &torn, unclean()).are_sessions_complete);
    assert!(!assess(whole(), &FoundMark::default(), FoundLog::default()).are_sessions_complete);
    // The database lost its end, and it is not known what the log had after its last whole line.
    let shorter = Database::Read(database(7, 5));
    assert!(!assess(shorter, &mark(9, 5), unclean()).are_sessions_complete);
    let altered = Verified {
        are_sessions_sound: false,
        ..database(9, 5)
    };
    assert!(!assess(Database::Read(altered), &mark(9, 5), log(4..=5, 5)).are_sessions_complete);
}
