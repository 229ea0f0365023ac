use super::*;
use crate::engine::durable::store::{finish, rebuild};
use crate::event::EventId;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn id(n: u64) -> EventId {
    EventId { ms: n, seq: n }
}

fn event(n: u64) -> Row {
    Row::Event {
        id: id(n),
        entry: format!("entry {n}"),
    }
}

fn session(number: u64, standing: &str) -> Row {
    Row::Session {
        number,
        user: "42".to_owned(),
        standing: standing.to_owned(),
    }
}

fn keep(retained: usize) -> Retention {
    Retention {
        retained,
        sources_from_ms: 0,
    }
}

fn stored(store: &Store) -> Vec<u64> {
    let mut ids = Vec::new();
    let read = store
        .reader()
        .events(|id, entry| {
            assert_eq!(entry, format!("entry {}", id.ms));
            ids.push(id.ms);
            Ok(())
        })
        .unwrap();
    assert_eq!((read.missing, read.is_broken), (0, false));
    ids
}

#[test]
fn what_was_committed_is_there_after_it_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    for fsync in [Fsync::Interval, Fsync::Always] {
        let path = directory.path().join(format!("{fsync:?}"));
        fs::create_dir(&path).unwrap();
        let mut store = Store::open(&path, fsync).unwrap();
        // SQLite's numbers: NORMAL leaves the flush to the syncer, FULL flushes a commit.
        let synchronous: i64 = store
            .db
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .unwrap();
        assert_eq!(synchronous, if fsync == Fsync::Always { 2 } else { 1 });
        store.commit(&[event(1), event(2)], keep(0)).unwrap();
        store
            .commit(
                &[
                    Row::Source {
                        source: "a".to_owned(),
                        id: id(2),
                        seen_ms: 7,
                    },
                    session(1, "old"),
                    session(2, "new"),
                ],
                keep(2),
            )
            .unwrap();
        // Dropped, not closed: as a killed process leaves it.
        drop(store);
        for file in fs::read_dir(&path).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(
                mode & 0o777,
                0o600,
                "others may read {:?}",
                file.file_name()
            );
        }
        let store = Store::open(&path, fsync).unwrap();
        assert_eq!(stored(&store), [1, 2]);
        let mut sources = Vec::new();
        let add = |seen_ms, source: &str, id| sources.push((seen_ms, source.to_owned(), id));
        assert!(store.reader().sources(add));
        assert_eq!(sources, [(7, "a".to_owned(), id(2))]);
        assert_eq!(store.session("42").unwrap().as_deref(), Some("new"));
        assert_eq!(store.session("43").unwrap(), None);
        assert_eq!(store.state().changes, 2);
        assert!(store.reader().verify().is_sound());
        store.close().unwrap();
    }
}

#[test]
fn rows_that_are_not_retained_are_removed_except_the_newest_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
    for n in 1..=1_000 {
        store.commit(&[event(n)], keep(10)).unwrap();
    }
    let rows = i64::try_from(stored(&store).len()).unwrap();
    assert!((11..=11 + MAX_STALE_ROWS).contains(&rows), "{rows} rows");
    assert!(store.is_untidy(keep(10)));
    store.commit(&[], keep(10)).unwrap();
    assert!(!store.is_untidy(keep(10)));
    assert_eq!(stored(&store), (990..=1_000).collect::<Vec<u64>>());
    store.commit(&[], keep(0)).unwrap();
    assert_eq!(stored(&store), [1_000]);
    // Numbers continue where they were.
    drop(store);
    let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
    store.commit(&[event(1_001)], keep(1)).unwrap();
    assert_eq!(stored(&store), [1_000, 1_001]);
}

#[test]
fn publishers_ids_are_removed_even_if_no_event_is_stored_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
    for n in 0..2_000 {
        let row = Row::Source {
            source: n.to_string(),
            id: id(n),
            seen_ms: n,
        };
        let limits = Retention {
            retained: 0,
            sources_from_ms: n.saturating_sub(100),
        };
        store.commit(&[row], limits).unwrap();
    }
    let mut kept = 0;
    assert!(store.reader().sources(|_, _, _| kept += 1));
    assert!(kept <= 100 + MAX_UNTIDY_COMMITS + 2, "{kept} rows");
}

#[test]
fn a_row_that_was_altered_moved_or_dropped_is_noticed() {
    for (damage, is_event) in [
        ("UPDATE events SET entry = 'entry 9' WHERE n = 2", true),
        ("UPDATE events SET ms = 9 WHERE n = 2", true),
        ("UPDATE events SET n = 9 WHERE n = 3", true),
        ("DELETE FROM events WHERE n = 2", true),
        ("UPDATE events SET entry = 'entry 9' WHERE n = 1", true),
        ("UPDATE events SET entry = 'entry 9' WHERE n = 3", true),
        ("UPDATE sources SET source = 'b'", false),
        ("UPDATE sources SET seen_ms = 8", false),
        ("UPDATE sessions SET standing = 'old'", false),
        ("UPDATE sessions SET user = '43'", false),
        ("UPDATE state SET changes = 2", false),
        ("UPDATE state SET sessions = sessions + 1", false),
        ("DELETE FROM state", false),
        (
            "DROP TRIGGER session_gone; DELETE FROM sessions WHERE user = '42'",
            false,
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
        let source = Row::Source {
            source: "a".to_owned(),
            id: id(2),
            seen_ms: 7,
        };
        let rows = [event(1), event(2), event(3), source, session(1, "new")];
        store.commit(&rows, keep(3)).unwrap();
        assert!(store.reader().verify().is_sound());
        store.db.execute_batch(damage).unwrap();
        let verified = store.reader().verify();
        assert!(!verified.is_sound(), "{damage}");
        let mut texts = Vec::new();
        let read = store.reader().events(|_, entry| {
            texts.push(entry.to_owned());
            Ok(())
        });
        assert_eq!(read.unwrap().missing > 0, is_event, "{damage}");
        assert!(texts.iter().all(|text| text != "entry 9"), "{damage}");
    }
}

#[test]
fn a_new_database_has_what_can_be_read_and_the_old_one_is_kept_aside() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
    let rows = [event(1), event(2), event(3), session(4, "new")];
    store.commit(&rows, keep(3)).unwrap();
    store
        .db
        .execute_batch("UPDATE events SET entry = 'x' WHERE n = 2")
        .unwrap();
    let upper = |_: &str, standing: &str, at: u64| format!("{standing} {at}");
    let newer = Row::Session {
        number: 6,
        user: "43".to_owned(),
        standing: "newer".to_owned(),
    };
    // The newest is not the latest where the clock was set back.
    let everyone = [(7, 8), (8, 9), (9, 5)].map(|(number, logged_out_ms)| Row::Everyone {
        number,
        logged_out_ms,
    });
    let state = store.state();
    rebuild(
        directory.path(),
        Some(store.reader()),
        &[&[newer], &everyone[..]].concat(),
        state,
        &upper,
    )
    .unwrap();
    drop(store);
    // Interrupted before the old one was moved, and after.
    let rebuilt = directory.path().join("history.sqlite.rebuilt");
    assert!(rebuilt.exists());
    finish(directory.path(), true).unwrap();
    finish(directory.path(), true).unwrap();
    assert!(directory.path().join("history.sqlite.damaged").exists() && !rebuilt.exists());
    let store = Store::open(directory.path(), Fsync::Interval).unwrap();
    assert_eq!(stored(&store), [1, 3]);
    assert_eq!(store.session("42").unwrap().as_deref(), Some("new 9"));
    assert_eq!(store.session("43").unwrap().as_deref(), Some("newer 9"));
    assert_eq!(store.state().changes, 9);
    assert_eq!(store.state().everyone_ms, 9);
    assert!(store.reader().verify().is_sound());
}

#[test]
fn a_database_of_the_first_version_is_read_without_checksums() {
    let directory = tempfile::tempdir().unwrap();
    let db = Connection::open(directory.path().join(DATABASE)).unwrap();
    db.execute_batch(FIRST_VERSION).unwrap();
    drop(db);
    let store = Store::open(directory.path(), Fsync::Interval).unwrap();
    assert!(!store.is_current());
    let verified = store.reader().verify();
    assert!(verified.is_sound() && verified.events.last == 2);
    rebuild(
        directory.path(),
        Some(store.reader()),
        &[],
        StoreState::default(),
        &|_, before, _| before.to_owned(),
    )
    .unwrap();
    drop(store);
    finish(directory.path(), false).unwrap();
    let store = Store::open(directory.path(), Fsync::Interval).unwrap();
    assert!(store.is_current() && store.reader().verify().is_sound());
    assert_eq!(stored(&store), [1, 2]);
    assert_eq!(store.session("42").unwrap().as_deref(), Some("new"));
    assert!(!directory.path().join("history.sqlite.damaged").exists());
}

/// As version 0.1 made it.
pub(crate) const FIRST_VERSION: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE events
        (n INTEGER PRIMARY KEY, ms INTEGER NOT NULL, seq INTEGER NOT NULL, entry TEXT NOT NULL);
    CREATE TABLE sources
        (seen_ms INTEGER NOT NULL, source TEXT NOT NULL, ms INTEGER NOT NULL, seq INTEGER NOT NULL,
         PRIMARY KEY (seen_ms, source)) WITHOUT ROWID;
    CREATE TABLE sessions
        (user TEXT PRIMARY KEY, standing TEXT NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
    INSERT INTO events VALUES (1, 1, 1, 'entry 1'), (2, 2, 2, 'entry 2');
    INSERT INTO sources VALUES (7, 'a', 2, 2);
    INSERT INTO sessions VALUES ('42', 'new');
";

#[test]
fn a_file_that_is_no_database_of_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(DATABASE), "not a database, only text").unwrap();
    let opened = Store::open(directory.path(), Fsync::Interval);
    assert!(matches!(opened, Err(StoreError::Database(_))));
    fs::remove_file(directory.path().join(DATABASE)).unwrap();
    let store = Store::open(directory.path(), Fsync::Interval).unwrap();
    store.db.pragma_update(None, "user_version", 99).unwrap();
    store.close().unwrap();
    let opened = Store::open(directory.path(), Fsync::Interval);
    assert!(matches!(opened, Err(StoreError::Format(99))));
}

#[test]
fn a_database_without_permission_to_open_it_is_not_called_damaged() {
    let failure = |code| StoreError::from(rusqlite::Error::SqliteFailure(code, None)).at_start();
    for code in [
        rusqlite::ffi::SQLITE_CANTOPEN,
        rusqlite::ffi::SQLITE_PERM,
        rusqlite::ffi::SQLITE_READONLY,
    ] {
        let error = failure(rusqlite::ffi::Error::new(code)).to_string();
        assert!(error.contains("this user may write"), "{error}");
    }
    let damaged = failure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT));
    assert!(damaged.to_string().contains("is damaged, move it"));
}
