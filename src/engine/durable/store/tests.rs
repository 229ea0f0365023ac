use super::*;
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

fn keep(retained: usize) -> Limits {
    Limits {
        retained,
        sources_from_ms: 0,
    }
}

fn stored(store: &Store) -> Vec<u64> {
    let mut ids = Vec::new();
    store
        .entries(|id, entry| {
            assert_eq!(entry, format!("entry {}", id.ms));
            ids.push(id.ms);
            Ok(())
        })
        .unwrap();
    ids
}

#[test]
fn what_was_committed_is_there_after_it_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    for fsync in [Fsync::Interval, Fsync::Always] {
        let path = directory.path().join(format!("{fsync:?}"));
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
                    Row::Session {
                        user: "42".to_owned(),
                        standing: "old".to_owned(),
                    },
                    Row::Session {
                        user: "42".to_owned(),
                        standing: "new".to_owned(),
                    },
                ],
                keep(2),
            )
            .unwrap();
        // Dropped, not closed: as a process that is killed leaves it.
        drop(store);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "others may read it");
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
        store
            .sources(|seen_ms, source, id| sources.push((seen_ms, source.to_owned(), id)))
            .unwrap();
        assert_eq!(sources, [(7, "a".to_owned(), id(2))]);
        assert_eq!(store.session("42").unwrap().as_deref(), Some("new"));
        assert_eq!(store.session("43").unwrap(), None);
        store.close().unwrap();
    }
}

#[test]
fn rows_that_are_not_retained_go_but_for_the_one_before_those_that_are() {
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
    // Numbers go on where they were.
    drop(store);
    let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
    store.commit(&[event(1_001)], keep(1)).unwrap();
    assert_eq!(stored(&store), [1_000, 1_001]);
}

#[test]
fn publishers_ids_go_where_no_event_is_stored_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path(), Fsync::Interval).unwrap();
    for n in 0..2_000 {
        let row = Row::Source {
            source: n.to_string(),
            id: id(n),
            seen_ms: n,
        };
        let limits = Limits {
            retained: 0,
            sources_from_ms: n.saturating_sub(100),
        };
        store.commit(&[row], limits).unwrap();
    }
    let mut kept = 0;
    store.sources(|_, _, _| kept += 1).unwrap();
    assert!(kept <= 100 + MAX_UNTIDY_COMMITS + 2, "{kept} rows");
}

#[test]
fn a_directory_is_one_servers() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Fsync::Interval).unwrap();
    let second = Store::open(directory.path(), Fsync::Interval);
    assert!(matches!(second, Err(StoreError::InUse)));
    store.close().unwrap();
    assert!(Store::open(directory.path(), Fsync::Interval).is_ok());
}

#[test]
fn what_is_no_database_of_ours_is_refused() {
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
