//! Histories under damage by the disk, the clock and other processes.

use super::*;
use std::fs;
use std::path::PathBuf;

const WAL: &str = "history.sqlite-wal";
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A copy of the directory, as a process that is killed now would leave it.
pub(super) fn image(path: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(path, image.path());
    image
}

pub(super) fn copy(from: &Path, to: &Path) {
    for file in ["history.sqlite", WAL, "sessions.log", "mark"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

/// Waits until `is_so` returns true. The upkeep runs in real time, on another thread.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so().await {
            return;
        }
        Clock::system().sleep(Duration::from_millis(5)).await;
    }
    panic!("never came true: {what}");
}

/// Another process that runs `sql` on the database, and has it open until it is dropped.
fn other_process(path: &Path, sql: &str) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    database.execute_batch(sql).unwrap();
    database
}

#[tokio::test]
async fn a_session_change_survives_the_loss_of_the_write_ahead_log_even_during_a_read() {
    for fsync in [Fsync::Interval, Fsync::Always] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let life = Life::begin(&path, fsync, 1_000_000).await;
        let first = life.publish(None, true).await.unwrap();
        let _reader = other_process(&path, "BEGIN; SELECT count(*) FROM events");
        life.change_session(Some("new")).await;
        life.change("43", None).await.unwrap();
        let last = life.publish(None, true).await.unwrap();
        let image = image(&path);
        fs::remove_file(image.path().join(WAL)).unwrap();
        let life = Life::begin(image.path(), fsync, 1_000_000).await;
        assert!(life.allows(Some("new"), 500_000) && !life.allows(Some("old"), 2_000_000));
        assert!(!life.lets_in("43", None, 1_000_000) && life.lets_in("43", None, 1_000_001));
        // No other user is affected.
        assert!(life.lets_in("44", None, 1));
        // The ids of events that are gone are not given out again.
        assert_eq!(life.missed(first), None);
        assert!(life.publish(None, true).await.unwrap() > last);
    }
}

#[tokio::test]
async fn a_log_out_of_everyone_while_the_clock_is_slow_covers_what_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 9_000_000).await;
    life.change("43", None).await.unwrap();
    life.engine.close().await;
    other_process(&path, "UPDATE sessions SET standing = standing || ' '");
    // One hour slow.
    for unix_ms in [5_400_000, 9_000_001] {
        let life = Life::begin(&path, Fsync::Interval, unix_ms).await;
        for user in ["43", "44"] {
            assert!(!life.lets_in(user, None, 9_000_000 - 1_800_000), "{user}");
            assert!(!life.lets_in(user, None, 9_000_000), "{user}");
            assert!(life.lets_in(user, None, 9_000_001), "{user}");
        }
        life.engine.close().await;
    }
}

/// How long something can depend on a log-out.
fn millis_of_life() -> u64 {
    let rules = Directory::default().rules();
    rules.max_token_life_ms + 2 * rules.leeway_ms + 1_000
}

#[tokio::test]
async fn if_session_changes_may_be_missing_everyone_is_logged_out_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    life.change_session(Some("new")).await;
    life.change("43", None).await.unwrap();
    life.engine.close().await;
    other_process(
        &path,
        "UPDATE sessions SET standing = replace(standing, '1000000', '1000001')",
    );
    let aside = image(&path);

    let life = Life::begin(&path, Fsync::Interval, 2_000_000).await;
    let is_logged_out = |life: &Life| {
        for session in [None, Some("old"), Some("new")] {
            for user in ["42", "43", "44"] {
                assert!(
                    !life.lets_in(user, session, 2_000_000),
                    "{user} {session:?}"
                );
                assert!(life.lets_in(user, session, 2_000_001), "{user} {session:?}");
            }
        }
    };
    is_logged_out(&life);
    // Neither a kill with the loss of the log nor another start makes the old tokens valid again.
    let image = image(&path);
    fs::remove_file(image.path().join(WAL)).unwrap();
    let later = Life::begin(image.path(), Fsync::Interval, 2_500_000).await;
    is_logged_out(&later);
    // A user who logs in again is let in. The same session's old tokens are not.
    later.change("44", Some("new")).await.unwrap();
    later.engine.close().await;
    let later = Life::begin(image.path(), Fsync::Interval, 2_600_000).await;
    assert!(later.lets_in("44", Some("new"), 2_500_000));
    assert!(!later.lets_in("44", Some("new"), 1_500_000));
    assert!(!later.lets_in("44", Some("other"), 2_500_000));
    later.engine.close().await;
    // As long as a token from before the log-out can be valid, one from its last moment is refused.
    let over_ms = 2_000_000 + millis_of_life();
    // The clock is believed after a day.
    let later = Life::begin(image.path(), Fsync::Interval, over_ms - DAY_MS).await;
    later.clock.advance(Duration::from_millis(DAY_MS));
    later.engine.close().await;
    let later = Life::begin(image.path(), Fsync::Interval, over_ms).await;
    assert!(!later.lets_in("45", None, 1));
    later.clock.advance(Duration::from_millis(1));
    later.engine.close().await;
    let later = Life::begin(image.path(), Fsync::Interval, over_ms + 1).await;
    assert!(later.lets_in("45", None, 1));
    later.engine.close().await;
    // No token from before the log-out can be valid.
    let later = Life::begin(image.path(), Fsync::Interval, 2_600_000 + 31 * DAY_MS).await;
    assert!(later.lets_in("45", None, 1));

    let accepting = Life::with(aside.path(), 2_000_000, |history| {
        history.on_damage = OnDamage::Accept;
    });
    accepting.engine.open(no_node()).await.unwrap();
    assert!(accepting.lets_in("44", None, 1_000_000));
}

#[tokio::test]
async fn a_clock_that_is_months_ahead_does_not_end_a_log_out_of_everyone() {
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path(), Fsync::Always, 1_000_000).await;
    life.change_session(None).await;
    life.engine.close().await;
    let only_lock = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join("lock"), only_lock.path().join("lock")).unwrap();
    let is_out = |life: &Life| !life.lets_in("44", None, 1);
    let life = Life::begin(only_lock.path(), Fsync::Always, 1_000_000).await;
    assert!(is_out(&life));
    life.engine.close().await;
    let fast_ms = 1_000_000 + 90 * DAY_MS;
    for _ in 0..2 {
        let life = Life::begin(only_lock.path(), Fsync::Always, fast_ms).await;
        assert!(is_out(&life));
        life.clock.advance(Duration::from_secs(2));
        life.publish(None, true).await.unwrap();
        assert!(is_out(&life));
        life.engine.close().await;
    }
    // The log-out ends once the clock is believed.
    let life = Life::begin(only_lock.path(), Fsync::Always, fast_ms).await;
    life.clock.advance(Duration::from_millis(DAY_MS));
    eventually("it is over", async || !is_out(&life)).await;
}

#[tokio::test]
async fn a_server_that_is_restarted_every_night_forgets_log_outs_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    life.change_session(None).await;
    life.engine.close().await;
    // An earlier version kept no time.
    fs::remove_file(path.join("time")).unwrap();
    let is_known = |life: &Life| !life.allows(Some("mine"), 1_000_000);
    for night in 0..7 {
        let life = Life::begin(&path, Fsync::Interval, (100 + night) * DAY_MS).await;
        assert!(is_known(&life));
        life.clock.advance(Duration::from_millis(DAY_MS - 60_000));
        let mut time = life.directory.time(&life.clock);
        assert!(time.unix_ms(&life.clock) < 10 * DAY_MS);
        life.engine.close().await;
    }
    let life = Life::begin(&path, Fsync::Interval, 107 * DAY_MS).await;
    let mut time = life.directory.time(&life.clock);
    time.unix_ms(&life.clock);
    life.clock.advance(Duration::from_secs(10 * 60));
    // The directory's time is the engine's.
    assert!(time.unix_ms(&life.clock) > 106 * DAY_MS);
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 107 * DAY_MS + 20 * 60_000).await;
    assert!(!is_known(&life));
}

#[tokio::test]
async fn if_every_file_but_the_lock_was_deleted_everyone_is_logged_out() {
    let directory = tempfile::tempdir().unwrap();
    let life = Life::begin(directory.path(), Fsync::Always, 1_000_000).await;
    life.change_session(None).await;
    let only_lock = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join("lock"), only_lock.path().join("lock")).unwrap();
    let again = Life::begin(only_lock.path(), Fsync::Always, 1_000_000).await;
    for user in ["42", "43"] {
        assert!(!again.lets_in(user, None, 1_000_000) && again.lets_in(user, None, 1_000_001));
    }
    // Without the lock, it is a new history.
    let nothing = tempfile::tempdir().unwrap();
    let new = Life::begin(nothing.path(), Fsync::Always, 1_000_000).await;
    assert!(new.lets_in("42", None, 1_000_000));
}

#[tokio::test]
async fn an_event_that_was_altered_is_not_replayed_and_the_others_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let first = life.publish(None, true).await.unwrap();
    life.change_session(Some("new")).await;
    life.publish(None, true).await.unwrap();
    let last = life.publish(None, true).await.unwrap();
    life.engine.close().await;
    other_process(
        &path,
        "UPDATE events SET entry = replace(entry, 'x', 'y') WHERE n = 4",
    );
    for start in 0..2 {
        let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
        let (gap, ids) = life.come_back(first);
        // The first start knows that something is missing.
        assert_eq!(gap.is_some(), start == 0);
        if let Some(position) = gap {
            // Everything retained, since it may have missed any lost event. The gap is reported once.
            assert_eq!(ids, [first, last]);
            assert!(life.come_back(last).0.is_some());
            assert_eq!(life.come_back(position), (None, vec![first, last]));
            let newest = life.log.dispatched_cursor().id;
            assert!(newest > last);
            assert_eq!(life.come_back(newest), (None, vec![]));
        } else {
            assert_eq!(ids, [last]);
        }
        // Its sessions are whole.
        assert!(life.allows(Some("new"), 1) && !life.allows(Some("old"), 1_000_000));
        life.engine.close().await;
    }
}

#[tokio::test]
async fn log_outs_are_accepted_while_the_database_is_locked_and_are_stored_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    let blocker = other_process(&path, "BEGIN IMMEDIATE");
    assert_eq!(life.publish(None, true).await, Err(EngineError::Locked));
    life.change_session(Some("new")).await;
    life.change("43", None).await.unwrap();
    life.change_session(None).await;
    life.change_session(Some("newer")).await;
    assert_eq!(
        life.engine.health(),
        EngineHealth::Failing(EngineError::Locked)
    );
    let check = |life: &Life| {
        assert!(life.allows(Some("newer"), 1_000_000) && !life.allows(Some("newer"), 900_000));
        assert!(!life.allows(Some("new"), 1_000_000));
        assert!(!life.lets_in("43", None, 1_000_000));
    };
    let killed = image(&path);
    let killed = Life::begin(killed.path(), Fsync::Always, 1_000_000).await;
    check(&killed);
    blocker.execute_batch("ROLLBACK").unwrap();
    eventually("it is well again", async || life.engine.health().is_well()).await;
    life.engine.close().await;
    // They are in the database, which needs no session log for them.
    let database = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    let count: i64 = database
        .query_row("SELECT changes FROM state", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 4);
    drop(database);
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    check(&life);
}

#[tokio::test]
async fn a_log_out_that_only_the_session_log_has_is_missed_if_that_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    let _blocker = other_process(&path, "BEGIN IMMEDIATE");
    life.change("43", None).await.unwrap();
    let killed = image(&path);
    let log = killed.path().join("sessions.log");
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.iter().rposition(|byte| *byte == b'4').unwrap();
    bytes[at] ^= 1;
    fs::write(&log, bytes).unwrap();
    let life = Life::begin(killed.path(), Fsync::Always, 1_000_000).await;
    for user in ["43", "44"] {
        assert!(!life.lets_in(user, None, 1_000_000) && life.lets_in(user, None, 1_000_001));
    }
}

#[tokio::test]
async fn deleted_files_are_noticed_at_once_and_accepted_when_they_are_back() {
    for file in [
        "history.sqlite",
        WAL,
        "history.sqlite-shm",
        "sessions.log",
        "mark",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
        life.publish(None, true).await.unwrap();
        fs::rename(path.join(file), directory.path().join("aside")).unwrap();
        eventually("it is missed", async || {
            life.engine.health() == EngineHealth::Failing(EngineError::Gone)
        })
        .await;
        assert_eq!(life.publish(None, true).await, Err(EngineError::Gone));
        assert_eq!(life.change("43", None).await, Err(EngineError::Gone));
        fs::rename(directory.path().join("aside"), path.join(file)).unwrap();
        eventually("it is back", async || life.engine.health().is_well()).await;
        life.publish(None, true).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_ahead_log_that_a_reader_keeps_long_takes_session_changes_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let mut life = Life::new(&path, Fsync::Interval, 1_000_000);
    life.engine.bounds = Bounds {
        wal_warn_bytes: 64 << 10,
        wal_max_bytes: 256 << 10,
    };
    life.engine.open(no_node()).await.unwrap();
    life.publish(None, true).await.unwrap();
    let reader = other_process(&path, "BEGIN; SELECT count(*) FROM events");
    eventually("it is refused", async || {
        life.publish(None, true).await == Err(EngineError::Overgrown)
    })
    .await;
    assert_eq!(
        life.engine.health(),
        EngineHealth::Failing(EngineError::Overgrown)
    );
    life.change_session(None).await;
    assert!(!life.allows(None, 1_000_000));
    reader.execute_batch("COMMIT").unwrap();
    eventually("it is taken", async || {
        life.publish(None, true).await.is_ok()
    })
    .await;
    let wal = || path.join(WAL).metadata().unwrap().len();
    eventually("it is short", async || wal() <= 256 << 10).await;
}

#[tokio::test]
async fn a_log_out_while_the_clock_was_slow_covers_what_came_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 9_000_000).await;
    life.publish(None, true).await.unwrap();
    life.engine.close().await;
    // One hour slow.
    let life = Life::begin(&path, Fsync::Interval, 5_400_000).await;
    life.change("43", None).await.unwrap();
    life.change("44", Some("new")).await.unwrap();
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Interval, 9_000_000).await;
    assert!(!life.lets_in("43", None, 9_000_000 - 1_800_000));
    // A session counts from the clock, so a clock that was fast keeps no user out.
    assert!(life.lets_in("44", Some("new"), 5_400_000));
    assert!(life.lets_in("44", None, 5_400_001));
}

#[tokio::test]
async fn a_clock_that_is_a_day_fast_removes_no_history() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let old = life.publish(None, true).await.unwrap();
    life.clock.advance(Duration::from_secs(500));
    let first = life.publish(Some("a"), true).await.unwrap();
    let second = life.publish(None, true).await.unwrap();
    life.engine.close().await;
    let fast = Life::begin(&path, Fsync::Interval, 1_500_000 + DAY_MS).await;
    assert_eq!(fast.missed(old), Some(vec![first, second]));
    // Publishers' ids are kept, too, and on the disk: rows are removed at the 257th commit.
    assert_eq!(fast.publish(Some("a"), true).await, Ok(first));
    for _ in 0..300 {
        fast.publish(None, true).await.unwrap();
    }
    assert_eq!(fast.missed(first).map(|ids| ids.len()), Some(301));
    fast.engine.close().await;
    let right = Life::begin(&path, Fsync::Interval, 1_600_000).await;
    assert_eq!(right.missed(first).map(|ids| ids.len()), Some(301));
    assert_eq!(right.publish(Some("a"), true).await, Ok(first));
}

/// A database with events of user 42 at 1000-0 and 1001-0, and a session of that user.
fn write_first_version(path: &Path) {
    let db = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    db.execute_batch(&format!(
        "{}
         DELETE FROM events; DELETE FROM sources; DELETE FROM sessions;
         INSERT INTO events VALUES (7, 1000, 0, '{entry}'), (8, 1001, 0, '{entry}');
         INSERT INTO sources VALUES (1001, 'a', 1001, 0);
         INSERT INTO sessions VALUES ('42', '{standing}');",
        store::FIRST_VERSION,
        entry = r#"{"event":{"to":{"user":"42"},"event":"message","data":"x"}}"#,
        standing = r#"{"current":"new","changed_at_ms":1000,"logged_out_at_ms":0}"#,
    ))
    .unwrap();
}

#[tokio::test]
async fn a_history_of_the_first_version_is_continued() {
    let directory = tempfile::tempdir().unwrap();
    let first = EventId { ms: 1_000, seq: 0 };
    write_first_version(directory.path());
    let second = EventId { ms: 1_001, seq: 0 };
    for _ in 0..2 {
        let life = Life::begin(directory.path(), Fsync::Interval, 2_000).await;
        assert_eq!(life.missed(first), Some(vec![second]));
        assert!(life.allows(Some("new"), 1) && !life.allows(Some("old"), 2_000));
        assert!(life.lets_in("43", None, 1));
        life.engine.close().await;
    }
    // Its content is in no other file, so without the database it counts as missing.
    fs::remove_file(directory.path().join("history.sqlite")).unwrap();
    let life = Life::begin(directory.path(), Fsync::Interval, 2_000).await;
    assert!(!life.allows(Some("old"), 2_000) && !life.lets_in("43", None, 1));
}

#[tokio::test]
async fn a_conversion_that_is_interrupted_logs_nobody_out() {
    // Each of these stops the conversion.
    let unwritable = |path: PathBuf| std::os::unix::fs::symlink("/dev/full", path).unwrap();
    let unusable = |path: PathBuf| fs::create_dir(path).unwrap();
    let obstacles: [(&str, &dyn Fn(PathBuf)); 3] = [
        ("sessions.log.new", &unusable),
        ("history.sqlite.rebuilt.new", &unusable),
        ("mark", &unwritable),
    ];
    for (name, put) in obstacles {
        let directory = tempfile::tempdir().unwrap();
        write_first_version(directory.path());
        let obstacle = directory.path().join(name);
        put(obstacle.clone());
        let life = Life::new(directory.path(), Fsync::Interval, 2_000);
        life.engine.open(no_node()).await.unwrap_err();
        let removed = fs::remove_file(&obstacle).or_else(|_| fs::remove_dir(&obstacle));
        removed.unwrap();
        for _ in 0..2 {
            let life = Life::begin(directory.path(), Fsync::Interval, 2_000).await;
            let first = EventId { ms: 1_000, seq: 0 };
            assert_eq!(life.missed(first).map(|ids| ids.len()), Some(1), "{name}");
            assert!(life.allows(Some("new"), 1) && !life.allows(Some("old"), 2_000));
            assert!(life.lets_in("43", None, 1), "{name}");
            life.engine.close().await;
        }
        // From then on, its loss is noticed.
        fs::remove_file(directory.path().join("history.sqlite")).unwrap();
        let life = Life::begin(directory.path(), Fsync::Interval, 2_000).await;
        assert!(!life.lets_in("43", None, 1), "{name}");
    }
}

#[tokio::test]
async fn a_session_log_that_is_long_is_emptied_and_nothing_of_it_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Arc::new(Life::begin(&path, Fsync::Interval, 1_000_000).await);
    for n in 0..200 {
        life.change(&format!("user {n}"), None).await.unwrap();
    }
    let used = || {
        let bytes = fs::read(path.join("sessions.log")).unwrap();
        bytes.iter().filter(|byte| **byte != 0).count()
    };
    eventually("it is emptied", async || used() < 16 << 10).await;
    let image = image(&path);
    let _ = fs::remove_file(image.path().join(WAL));
    let life = Life::begin(image.path(), Fsync::Interval, 1_000_000).await;
    for n in 0..200 {
        assert!(!life.lets_in(&format!("user {n}"), None, 1_000_000), "{n}");
    }
    assert!(life.lets_in("another", None, 1));
}

#[tokio::test]
async fn a_session_log_that_is_long_keeps_what_is_not_in_the_databases_own_file() {
    // A reader keeps the changes in the write-ahead log, and a writer keeps them out of the database.
    for obstacle in ["BEGIN; SELECT count(*) FROM events", "BEGIN IMMEDIATE"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let life = Arc::new(Life::begin(&path, Fsync::Interval, 1_000_000).await);
        life.publish(None, true).await.unwrap();
        let other = other_process(&path, obstacle);
        // All at once: each commit waits for the lock.
        let changes: Vec<_> = (0..200)
            .map(|n| {
                let life = Arc::clone(&life);
                tokio::spawn(async move { life.change(&format!("user {n}"), None).await })
            })
            .collect();
        for change in changes {
            change.await.unwrap().unwrap();
        }
        let is_complete = async |when: &str| {
            let image = image(&path);
            let _ = fs::remove_file(image.path().join(WAL));
            let life = Life::begin(image.path(), Fsync::Interval, 1_000_000).await;
            for n in 0..200 {
                let user = format!("user {n}");
                assert!(!life.lets_in(&user, None, 1_000_000), "{when}: {user}");
            }
            // Nothing is missing, so no other user is logged out.
            assert!(life.lets_in("another", None, 1), "{when}");
        };
        // The upkeep runs meanwhile.
        std::thread::sleep(Duration::from_millis(100));
        is_complete(obstacle).await;
        other.execute_batch("ROLLBACK").unwrap();
        eventually("it is well", async || life.engine.health().is_well()).await;
        is_complete("afterwards").await;
    }
}

#[tokio::test]
async fn a_start_during_a_read_keeps_the_session_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    life.publish(None, true).await.unwrap();
    let _reader = other_process(&path, "BEGIN; SELECT count(*) FROM events");
    // After what the reader sees, so that it stays in the write-ahead log.
    life.change("43", None).await.unwrap();
    life.engine.close().await;
    let _life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
    let killed = image(&path);
    fs::remove_file(killed.path().join(WAL)).unwrap();
    let life = Life::begin(killed.path(), Fsync::Interval, 1_000_000).await;
    assert!(!life.lets_in("43", None, 1_000_000) && life.lets_in("44", None, 1));
}

/// Makes the disk look full at the next start, and keeps the database from being rebuilt until
/// [`let_rebuild`].
fn fill_disk(path: &Path) {
    // The first probe removes it, like the file that it stands for.
    std::os::unix::fs::symlink("/dev/full", path.join("probe")).unwrap();
    fs::create_dir(path.join("history.sqlite.rebuilt.new")).unwrap();
}

fn let_rebuild(path: &Path) {
    fs::remove_dir(path.join("history.sqlite.rebuilt.new")).unwrap();
}

#[tokio::test]
async fn damage_found_on_a_full_disk_also_logs_out_users_with_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    life.change_session(Some("new")).await;
    life.change("43", Some("new")).await.unwrap();
    life.engine.close().await;
    other_process(
        &path,
        "UPDATE sessions SET standing = standing || ' ' WHERE user = '42'",
    );
    fill_disk(&path);

    let life = Life::begin(&path, Fsync::Always, 2_000_000).await;
    assert_eq!(
        life.engine.health(),
        EngineHealth::Failing(EngineError::Full)
    );
    // This works, and proves nothing about the disk.
    assert_eq!(life.disconnect().await, Ok(7));
    assert_eq!(
        life.engine.health(),
        EngineHealth::Failing(EngineError::Full)
    );
    // Read-only: events that need not be stored are refused, too.
    for is_kept in [true, false] {
        assert_eq!(life.publish(None, is_kept).await, Err(EngineError::Full));
    }
    let is_logged_out = |life: &Life, at_ms| {
        for user in ["42", "43", "44"] {
            for session in [None, Some("new")] {
                assert!(!life.lets_in(user, session, at_ms), "{user} {session:?}");
                assert!(life.lets_in(user, session, at_ms + 1), "{user} {session:?}");
            }
        }
    };
    is_logged_out(&life, 2_000_000);
    // A user who logs in again is let in, and logged out again when the database is rebuilt, because some
    // changes before that may be missing.
    life.clock.advance(Duration::from_secs(1_000));
    life.change("43", Some("newer")).await.unwrap();
    assert!(life.lets_in("43", Some("newer"), 2_500_000));
    let_rebuild(&path);
    eventually("it is well", async || life.engine.health().is_well()).await;
    is_logged_out(&life, 3_000_000);
    assert!(!life.lets_in("43", Some("newer"), 2_500_000));
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Always, 3_000_000).await;
    is_logged_out(&life, 3_000_000);
    assert!(!life.lets_in("43", Some("newer"), 2_500_000));
}

#[tokio::test]
async fn a_log_out_between_two_attempts_to_rebuild_the_database_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let life = Life::begin(&path, Fsync::Always, 1_000_000).await;
    life.change_session(Some("new")).await;
    life.engine.close().await;
    other_process(&path, "UPDATE sessions SET standing = standing || ' '");
    // A session log that would be replaced when it is emptied, but cannot be.
    let log = fs::File::options()
        .write(true)
        .open(path.join("sessions.log"));
    let log = log.unwrap();
    log.set_len(2 * log.metadata().unwrap().len()).unwrap();
    fs::create_dir(path.join("sessions.log.new")).unwrap();
    fill_disk(&path);

    let life = Life::begin(&path, Fsync::Always, 2_000_000).await;
    let_rebuild(&path);
    let damaged = path.join("history.sqlite.damaged");
    eventually("it is rebuilt", async || damaged.exists()).await;
    life.clock.advance(Duration::from_secs(1_000));
    life.change("43", None).await.unwrap();
    assert!(!life.engine.health().is_well());
    fs::remove_dir(path.join("sessions.log.new")).unwrap();
    eventually("it is well", async || life.engine.health().is_well()).await;
    life.engine.close().await;
    let life = Life::begin(&path, Fsync::Always, 3_000_000).await;
    assert!(!life.lets_in("43", None, 3_000_000) && life.lets_in("44", None, 2_000_001));
}
