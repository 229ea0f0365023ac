//! A history that survives the process: `[history] path`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use idlewild::auth::mint::{Claims, mint};
use idlewild::config::{Auth, Secret};
use rustix::process::Signal;
use serde_json::json;

use crate::support::process::{Process, config, idlewild};
use crate::support::{
    API_KEY, Answer, Client, NOTIFICATIONS, SECRET, Stream, TestServer, eventually, request,
};

/// The settings for [`Process::serve`] with a history in this directory.
fn history(path: &Path, more: &str) -> String {
    format!("history.path = \"{}\"\n{more}", path.display())
}

fn serve(path: &Path, more: &str) -> Process {
    Process::serve(&history(path, more))
}

#[allow(clippy::disallowed_methods)] // the server runs in its own process, with the machine's clock
fn token(user: &str, session: Option<&str>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let auth = Auth {
        secret: Secret::new(SECRET),
        ..Auth::default()
    };
    let claims = Claims {
        user,
        session,
        topics: &[],
        ttl: Duration::from_secs(3_600),
        now_unix_ms: u64::try_from(now.as_millis()).unwrap(),
    };
    mint(&auth, &claims).unwrap()
}

fn admin(process: &Process, method: &str, path: &str, body: &str) -> Answer {
    let key = format!("Bearer {API_KEY}");
    request(
        process.admin(),
        method,
        path,
        &[("Authorization", &key)],
        body,
    )
}

fn publish(process: &Process, source_id: Option<&str>, data: &str) -> String {
    let mut event = json!({"to": {"user": "42"}, "data": data});
    if let Some(source_id) = source_id {
        event["id"] = json!(source_id);
    }
    let answer = admin(process, "POST", "/v1/events", &event.to_string());
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn open(process: &Process, token: &str, last_event_id: &str) -> Stream {
    let client = Client::connect(process.public());
    let mut stream = client.reconnect(token, last_event_id);
    if stream.status == 200 {
        stream.begin();
    }
    stream
}

fn event(id: &str, data: &str) -> String {
    format!("id: {id}\nevent: message\ndata: {data}\n\n")
}

#[test]
fn a_client_resumes_after_the_server_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let mut process = serve(&path, "");
    let first = publish(&process, None, "first");
    let second = publish(&process, Some("s"), "second\nline");
    let (old, new) = (token("42", Some("old")), token("42", Some("new")));
    assert_eq!(open(&process, &old, &first).status, 200);
    let change = admin(
        &process,
        "PUT",
        "/v1/users/42/session",
        r#"{"session_id": "new"}"#,
    );
    assert_eq!(change.status, 200);
    let third = publish(&process, None, "third");
    process.signal(Signal::KILL);
    process.wait();

    let process = serve(&path, "");
    let mut stream = open(&process, &new, &first);
    let frame = format!("id: {second}\nevent: message\ndata: second\ndata: line\n\n");
    assert_eq!(stream.next().unwrap(), frame);
    assert_eq!(stream.next().unwrap(), event(&third, "third"));
    // A publisher that did not get its response sends the event again.
    assert_eq!(publish(&process, Some("s"), "second\nline"), second);
    let fourth = publish(&process, None, "fourth");
    assert_eq!(stream.next().unwrap(), event(&fourth, "fourth"));
    // The other device's token is still revoked.
    assert_eq!(open(&process, &old, &first).status, 401);
    let metrics = request(process.admin(), "GET", "/metrics", &[], "").body;
    assert!(metrics.contains("\nidlewild_replay_gaps_total 0\n"));
    assert!(metrics.contains("\nidlewild_history_events 5\n"));
}

#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_event() {
    const ROUNDS: usize = 8;
    const PUBLISHERS: usize = 4;
    let mut random = fastrand::Rng::with_seed(4);
    for fsync in ["interval", "always"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let more = format!("history.fsync = \"{fsync}\"");
        let mut process = serve(&path, &more);
        let start = publish(&process, None, "start");
        let mut acknowledged: Vec<(String, String)> = Vec::new();
        for round in 0..ROUNDS {
            let is_killed = AtomicBool::new(false);
            let count = AtomicUsize::new(0);
            let admin = process.admin();
            std::thread::scope(|scope| {
                let publishers: Vec<_> = (0..PUBLISHERS)
                    .map(|publisher| {
                        let (is_killed, count) = (&is_killed, &count);
                        scope
                            .spawn(move || publish_until(admin, is_killed, count, round, publisher))
                    })
                    .collect();
                // In the middle of the writes, however fast the disk is.
                let enough = random.usize(5..60);
                eventually("events are accepted", || {
                    count.load(Ordering::Relaxed) >= enough
                });
                process.signal(Signal::KILL);
                is_killed.store(true, Ordering::Relaxed);
                for publisher in publishers {
                    acknowledged.extend(publisher.join().unwrap());
                }
            });
            process.wait();
            process = serve(&path, &more);
        }
        let end = publish(&process, None, "end");
        let mut stream = open(&process, &token("42", None), &start);
        let mut replayed = Vec::new();
        loop {
            let frame = stream.next().unwrap();
            let mut lines = frame.lines();
            let id = lines
                .next()
                .unwrap()
                .strip_prefix("id: ")
                .unwrap()
                .to_owned();
            let data = lines
                .nth(1)
                .unwrap()
                .strip_prefix("data: ")
                .unwrap()
                .to_owned();
            if id == end {
                break;
            }
            replayed.push((id, data));
        }
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|event| !replayed.contains(event))
            .collect();
        assert!(lost.is_empty(), "{fsync}: {lost:?}");
        // An event may be stored without its response having been sent: at most one per publisher.
        let more = replayed.len() - acknowledged.len();
        assert!(more <= ROUNDS * PUBLISHERS, "{fsync}: {more} more");
        assert!(
            acknowledged.len() >= 5 * ROUNDS,
            "{fsync}: only {acknowledged:?}"
        );
    }
}

/// Publishes one event after another and returns those that were acknowledged.
fn publish_until(
    admin: std::net::SocketAddr,
    is_killed: &AtomicBool,
    count: &AtomicUsize,
    round: usize,
    publisher: usize,
) -> Vec<(String, String)> {
    use std::io::{Read, Write};
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if is_killed.load(Ordering::Relaxed) {
            break;
        }
        let data = format!("{round}/{publisher}/{n}");
        let body = json!({"to": {"user": "42"}, "data": data}).to_string();
        let Ok(mut socket) = std::net::TcpStream::connect(admin) else {
            continue;
        };
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = String::new();
        let asked = socket
            .write_all(head.as_bytes())
            .and_then(|()| socket.read_to_string(&mut answer));
        if asked.is_ok()
            && answer.starts_with("HTTP/1.1 202")
            && let Some((_, body)) = answer.split_once("\r\n\r\n")
        {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            acknowledged.push((body["id"].as_str().unwrap().to_owned(), data));
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

#[test]
fn a_second_server_on_the_same_history_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let first = serve(&path, "");
    let file = directory.path().join("second.toml");
    fs::write(&file, config(&history(&path, ""))).unwrap();
    let ended = idlewild(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(
        last.contains("history.path") && last.contains("in use by another server"),
        "{last}"
    );
    publish(&first, None, "it goes on");
}

#[test]
fn a_clean_shutdown_closes_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let mut process = serve(&path, "");
    let first = publish(&process, None, "first");
    publish(&process, None, "second");
    process.signal(Signal::TERM);
    assert!(process.wait().success());
    let mut names: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["history.sqlite", "lock", "mark", "sessions.log", "time"]
    );
    let process = serve(&path, "");
    let mut stream = open(&process, &token("42", None), &first);
    assert!(stream.next().unwrap().contains("data: second\n"));
}

#[test]
fn private_descriptor_tables_contain_none_of_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let process = serve(&path, "shards = 4\nfd_tables = \"per-shard\"");
    let first = publish(&process, None, "first");
    let second = publish(&process, None, "second");
    let mut stream = open(&process, &token("42", None), &first);
    assert_eq!(stream.next().unwrap(), event(&second, "second"));
    let pid = process.pid().as_raw_nonzero();
    let mut holders = Vec::new();
    let mut shards = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        shards += usize::from(name.starts_with("shard-"));
        let holds = fs::read_dir(task.join("fd")).unwrap().any(|fd| {
            fs::read_link(fd.unwrap().path()).is_ok_and(|target| target.starts_with(&path))
        });
        if holds {
            holders.push(name.trim().to_owned());
        }
    }
    assert_eq!(shards, 4);
    assert!(holders.contains(&"history".to_owned()), "{holders:?}");
    assert!(
        !holders.iter().any(|name| name.starts_with("shard-")),
        "{holders:?}"
    );
}

#[test]
fn a_batch_is_stored_in_order_and_its_errors_have_line_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let start = |path: &Path| {
        let path = path.to_owned();
        TestServer::with(move |config| config.history.path = Some(path))
    };
    let first = {
        let server = start(&path);
        let first = server.publish(&json!({"to": {"user": "42"}, "data": "first"}));
        let lines: Vec<String> = (1..=1_000)
            .map(|line| match line {
                300 | 900 => "no JSON".to_owned(),
                _ => json!({"to": {"user": "42"}, "data": line.to_string()}).to_string(),
            })
            .collect();
        let answer = server.admin("POST", "/v1/events/batch", &lines.join("\n"));
        let answer = answer.json();
        assert_eq!(answer["accepted"], 998);
        let errors = answer["errors"].as_array().unwrap();
        let numbers: Vec<&serde_json::Value> = errors.iter().map(|error| &error["line"]).collect();
        assert_eq!(numbers, [300, 900]);
        server.close();
        first
    };
    let server = start(&path);
    let path = format!(
        "{NOTIFICATIONS}?token={}&last_event_id={first}",
        server.token("42")
    );
    let mut stream = server.open(&path);
    stream.next().unwrap();
    for line in (1..=1_000).filter(|line| ![300, 900].contains(line)) {
        let frame = stream.next().unwrap();
        assert!(
            frame.ends_with(&format!("data: {line}\n\n")),
            "{line}: {frame}"
        );
    }
}

#[test]
fn a_large_history_on_disk_shrinks_to_the_retention() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let server = TestServer::with({
        let path = path.clone();
        move |config| {
            config.history.path = Some(path);
            config.history.max_bytes = 1 << 20;
        }
    });
    let data = "x".repeat(10_000);
    // Twenty times as much as is retained.
    for _ in 0..20 {
        let lines: Vec<String> = (0..100)
            .map(|_| json!({"to": {"all": true}, "data": data}).to_string())
            .collect();
        let answer = server.admin("POST", "/v1/events/batch", &lines.join("\n"));
        assert_eq!(answer.json()["accepted"], 100);
    }
    assert!(server.metric("idlewild_history_bytes").unwrap() <= f64::from(1 << 20));
    let size = || -> u64 {
        let files = fs::read_dir(&path).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    // The write-ahead log goes back to 8 MiB at most, even after a burst.
    eventually("the directory is small", || size() < 16 << 20);
}

#[test]
fn an_event_that_cannot_be_stored_is_503_and_the_recovery_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let server = TestServer::with({
        let path = path.clone();
        move |config| config.history.path = Some(path)
    });
    let mut stream = server.stream("42");
    // Every write fails, as on a full disk.
    let blocker = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let event = json!({"to": {"user": "42"}, "data": "x", "id": "s"}).to_string();
    let refused = server.admin("POST", "/v1/events", &event);
    assert_eq!(refused.status, 503, "{}", refused.body);
    // A log-out is written to a file of its own.
    let logout = server.admin("POST", "/v1/users/43/logout", "");
    assert_eq!(logout.status, 200, "{}", logout.body);
    let ready = server.admin("GET", "/readyz", "");
    assert_eq!(
        (ready.status, ready.json()["ready"].clone()),
        (503, json!(false))
    );
    assert_eq!(server.metric("idlewild_engine_up"), Some(0.0));
    assert!(stream.is_silent());
    blocker.execute_batch("ROLLBACK").unwrap();
    server.wait_for_metric("idlewild_engine_up", 1.0);
    assert_eq!(server.admin("GET", "/readyz", "").status, 200);
    let accepted = server.admin("POST", "/v1/events", &event);
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    assert!(stream.next().unwrap().contains("data: x\n"));
}

#[test]
fn a_batch_of_which_nothing_can_be_stored_is_an_error_and_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let process = serve(&path, "");
    let blocker = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let line = json!({"to": {"all": true}, "data": "x"}).to_string();
    let answer = admin(
        &process,
        "POST",
        "/v1/events/batch",
        &format!("{line}\n{line}\n"),
    );
    assert_eq!(answer.status, 503, "{}", answer.body);
    eventually("it is said", || {
        process
            .log()
            .lines()
            .any(|line| line.contains("admin request refused") && line.contains("/v1/events/batch"))
    });
}

fn log_out(process: &Process, user: &str) {
    let path = format!("/v1/users/{user}/logout");
    let answer = admin(process, "POST", &path, "{}");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The reason why the server is not ready, if it is not.
fn not_ready(process: &Process) -> Option<String> {
    let answer = request(process.admin(), "GET", "/readyz", &[], "");
    (answer.status != 200).then(|| answer.json()["reason"].as_str().unwrap().to_owned())
}

/// The files of a history, except those that SQLite shares between processes.
fn copy(path: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(path).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "history.sqlite-shm" {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

fn is_in_log(process: &Process, text: &str) -> bool {
    process.log().lines().any(|line| line.contains(text))
}

#[test]
fn a_log_out_survives_damage_to_the_write_ahead_log_and_the_loss_is_logged() {
    for (fsync, is_deleted) in [("always", false), ("always", true), ("interval", true)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let more = format!("history.fsync = \"{fsync}\"");
        let mut process = serve(&path, &more);
        publish(&process, None, "first");
        let (revoked, good) = (token("42", None), token("43", None));
        // Another process reads, so nothing can be moved into the main file.
        let reader = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM events")
            .unwrap();
        log_out(&process, "42");
        let last = publish(&process, None, "last");
        process.signal(Signal::KILL);
        process.wait();
        // A copy from right after the kill, because a reader that ends cleans up.
        let left = copy(&path);
        drop(reader);
        let wal = left.path().join("history.sqlite-wal");
        if is_deleted {
            fs::remove_file(&wal).unwrap();
        } else {
            let mut bytes = fs::read(&wal).unwrap();
            bytes[100] ^= 4;
            fs::write(&wal, bytes).unwrap();
        }
        let process = serve(left.path(), &more);
        assert_eq!(open(&process, &revoked, &last).status, 401);
        assert_eq!(open(&process, &good, &last).status, 200);
        let log = process.log();
        let warning = log.lines().find(|line| line.contains("not all there"));
        let warning = warning.unwrap_or_else(|| panic!("no warning in {log}"));
        for field in ["WARN", "events_missing=", &format!("newest={last}")] {
            assert!(warning.contains(field), "{warning}");
        }
        assert_eq!(not_ready(&process), None);
        publish(&process, None, "it goes on");
    }
}

#[test]
fn if_session_changes_may_be_missing_old_tokens_are_rejected_until_the_next_login() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let mut process = serve(&path, "");
    let first = publish(&process, None, "first");
    log_out(&process, "42");
    process.signal(Signal::TERM);
    assert!(process.wait().success());
    let database = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    database
        .execute("UPDATE sessions SET user = '43'", [])
        .unwrap();
    drop(database);
    let old = token("44", None);
    let damaged = copy(&path);

    let mut process = serve(&path, "");
    assert!(is_in_log(&process, "everyone is logged out"));
    assert_eq!(open(&process, &old, &first).status, 401);
    assert_eq!(open(&process, &token("44", None), &first).status, 200);
    process.signal(Signal::KILL);
    process.wait();
    // It is not logged a second time, but it still applies.
    let process = serve(&path, "");
    assert!(!is_in_log(&process, "WARN"), "{}", process.log());
    assert_eq!(open(&process, &old, &first).status, 401);

    let process = serve(damaged.path(), "history.on_damage = \"accept\"");
    assert!(is_in_log(&process, "may be good again"));
    assert_eq!(open(&process, &old, &first).status, 200);
}

#[test]
fn a_damaged_database_is_set_aside_or_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let mut process = serve(&path, "");
    let first = publish(&process, None, "first");
    let revoked = token("42", None);
    log_out(&process, "42");
    process.signal(Signal::KILL);
    process.wait();
    fs::remove_file(path.join("history.sqlite-wal")).unwrap();
    fs::write(path.join("history.sqlite"), "no database at all").unwrap();
    let mut process = serve(&path, "");
    assert!(is_in_log(&process, "cannot be read"));
    assert_eq!(open(&process, &revoked, &first).status, 401);
    assert!(path.join("history.sqlite.damaged").exists());
    process.signal(Signal::KILL);
    process.wait();

    // A database of a later version; and the remedy in the error message works.
    let database = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let file = directory.path().join("refused.toml");
    fs::write(&file, config(&history(&path, ""))).unwrap();
    let ended = idlewild(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(
        last.contains("history.path") && last.contains("another version"),
        "{last}"
    );
    for name in ["history.sqlite", "history.sqlite-wal"] {
        let _ = fs::remove_file(path.join(name));
    }
    let process = serve(&path, "");
    assert_eq!(open(&process, &revoked, &first).status, 401);
}

/// A server with a limit on file sizes, which has the same effect as a full disk.
mod full {
    use super::*;
    use crate::support::process::limited;
    use rustix::process::{Resource, Rlimit, prlimit};

    /// Less than a commit needs, unless it only overwrites.
    const LITTLE_BYTES: u64 = 16 * 1024;

    pub(super) fn serve(path: &Path, is_full: bool) -> Process {
        let directory = crate::support::process::directory(&config(&history(path, "")));
        let limit = if is_full { "ulimit -S -f 16;" } else { "" };
        let mut command = limited(limit);
        command
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("idlewild.toml"));
        Process::start(command, directory)
    }

    pub(super) fn set_full(process: &Process, is_full: bool) {
        let limit = Rlimit {
            current: is_full.then_some(LITTLE_BYTES),
            maximum: None,
        };
        prlimit(Some(process.pid()), Resource::Fsize, limit).unwrap();
    }
}

#[test]
fn on_a_full_disk_streams_and_log_outs_work_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let mut process = full::serve(&path, false);
    let first = publish(&process, None, "first");
    for _ in 0..20 {
        publish(&process, None, "more");
    }
    let tokens = ["50", "51", "42"].map(|user| token(user, None));
    let is_full = |process: &Process| {
        eventually("it is full", || {
            let refused = json!({"to": {"user": "42"}, "data": "x"}).to_string();
            let refused = admin(process, "POST", "/v1/events", &refused);
            refused.status == 503 && refused.body.contains("history.path is full")
        });
        let reason = not_ready(process).unwrap();
        assert!(reason.contains("history.path is full"), "{reason}");
    };
    full::set_full(&process, true);
    is_full(&process);
    log_out(&process, "50");
    assert_eq!(open(&process, &tokens[0], &first).status, 401);
    process.signal(Signal::KILL);
    process.wait();

    // SQLite has to recreate its shared memory, and there is no space for it.
    fs::remove_file(path.join("history.sqlite-shm")).unwrap();
    let mut process = full::serve(&path, true);
    is_full(&process);
    let mut stream = open(&process, &tokens[2], &first);
    assert!(stream.next().unwrap().contains("data: more\n"));
    assert_eq!(open(&process, &tokens[0], &first).status, 401);
    log_out(&process, "51");
    assert_eq!(open(&process, &tokens[1], &first).status, 401);
    full::set_full(&process, false);
    eventually("there is room again", || not_ready(&process).is_none());
    publish(&process, None, "it goes on");
    process.signal(Signal::KILL);
    process.wait();
    let process = serve(&path, "");
    for (token, status) in tokens.iter().zip([401, 401, 200]) {
        assert_eq!(open(&process, token, &first).status, status);
    }
}

#[test]
fn a_history_that_is_deleted_while_the_server_runs_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let process = serve(&path, "");
    publish(&process, None, "first");
    fs::remove_dir_all(&path).unwrap();
    eventually("it is missed", || {
        not_ready(&process).is_some_and(|reason| reason.contains("deleted or replaced"))
    });
    let event = json!({"to": {"all": true}, "data": "x"}).to_string();
    assert_eq!(admin(&process, "POST", "/v1/events", &event).status, 503);
    assert!(is_in_log(&process, "deleted or replaced"));
}
