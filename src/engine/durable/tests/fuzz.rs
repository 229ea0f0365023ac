//! Random damage to the files of a history. Whatever it is, no revoked token becomes valid again, and no
//! event differs from what was published.

use super::damage::copy;
use super::*;
use crate::wire::{Event, Signal, Wire};
use std::collections::HashMap;
use std::fs;
use tempfile::TempDir;

const ROUNDS: usize = 1_000;
/// The latest time in the histories.
const END_MS: u64 = 1_100_000;
const FILES: [&str; 4] = [
    "history.sqlite",
    "history.sqlite-wal",
    "sessions.log",
    "mark",
];

/// Copies of a directory at several moments, and what has to hold for all of them.
struct Histories {
    images: Vec<TempDir>,
    /// The frame of each event.
    frames: HashMap<EventId, Vec<u8>>,
}

/// Tokens that were revoked before the first image: user, session, and when it was issued.
fn revoked() -> Vec<(&'static str, Option<&'static str>, u64)> {
    vec![
        ("a", Some("a0"), END_MS),
        ("a", None, 1_000_000),
        ("b", None, 1_000_000),
        ("b", Some("b0"), 1_000_000),
        ("c", Some("c1"), END_MS),
        ("d", Some("d1"), 998_000),
        ("d", Some("d2"), END_MS),
    ]
}

impl Histories {
    async fn make() -> Self {
        let directory = memory_directory();
        let path = directory.path().join("history");
        let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
        let mut made = Self {
            images: Vec::new(),
            frames: HashMap::new(),
        };
        for (user, keep) in [
            ("a", Some("a1")),
            ("b", None),
            ("c", Some("c1")),
            ("c", Some("c2")),
            ("d", Some("d1")),
            ("d", None),
            ("d", Some("d1")),
        ] {
            made.publish(&life, 3).await;
            life.change(user, keep).await.unwrap();
        }
        // Everything is in the write-ahead log only.
        made.keep(&path);
        for pragma in ["TRUNCATE", "PASSIVE"] {
            let other = rusqlite::Connection::open(path.join("history.sqlite")).unwrap();
            other
                .query_row(&format!("PRAGMA wal_checkpoint({pragma})"), [], |_| Ok(()))
                .unwrap();
            drop(other);
            // Everything is in the main file only, or in both.
            made.keep(&path);
            made.publish(&life, 10).await;
            life.change("e", Some(pragma)).await.unwrap();
            // Some of it is in each.
            made.keep(&path);
        }
        life.engine.close().await;
        made.keep(&path);
        // The session log has been emptied since.
        let life = Life::begin(&path, Fsync::Interval, 1_000_000).await;
        made.publish(&life, 3).await;
        life.change("e", None).await.unwrap();
        made.keep(&path);
        made
    }

    fn keep(&mut self, path: &Path) {
        let image = memory_directory();
        copy(path, image.path());
        self.images.push(image);
    }

    async fn publish(&mut self, life: &Life, count: usize) {
        for _ in 0..count {
            let number = self.frames.len();
            let data = format!("{number} {}", "text ".repeat(number * 37 % 300));
            let draft = Draft {
                to: Target::User(UserId::new("42").unwrap()),
                name: EventName::default(),
                data: data.clone(),
                source_id: Some(format!("source {number}").into()),
                is_kept: true,
            };
            let id = life.engine.publish(vec![draft]).await.remove(0).unwrap();
            let event = Signal::Event(Event {
                id: Some(id),
                name: "message",
                data: &data,
            });
            self.frames.insert(id, encoded(&event));
        }
    }
}

/// In memory, if the machine has such a file system, because a thousand starts flush a lot.
fn memory_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Damages one file. Returns which one, and how; `None` if the file is missing or empty.
fn damage(random: &mut fastrand::Rng, directory: &Path) -> Option<(&'static str, String)> {
    let name = FILES[random.usize(..FILES.len())];
    let path = directory.join(name);
    let mut bytes = fs::read(&path).ok().filter(|bytes| !bytes.is_empty())?;
    // Most of a session log is reserved space.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 64;
    let at = random.usize(..used.min(bytes.len()));
    let how = match random.u32(..10) {
        0..=5 => {
            for _ in 0..random.usize(1..4) {
                let at = random.usize(at..bytes.len().min(at + 200));
                bytes[at] ^= 1 << random.u32(..8);
            }
            format!("flipped at {at}")
        }
        6 | 7 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        8 => {
            let from = at / 4_096 * 4_096;
            let to = bytes.len().min(from + 4_096);
            bytes[from..to].fill(0);
            format!("page zeroed at {from}")
        }
        _ => {
            fs::remove_file(&path).unwrap();
            return Some((name, "deleted".to_owned()));
        }
    };
    fs::write(&path, bytes).unwrap();
    Some((name, how))
}

fn encoded(signal: &Signal<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Wire::SseChunked.encode(signal, &mut bytes);
    bytes
}

/// Every entry that is retained.
fn replayed(life: &Life) -> Vec<(EventId, Vec<u8>)> {
    let joined = life.log.join(&JoinRequest {
        user: "42",
        session: None,
        topics: &[],
        last_event_id: Some("none"),
        settled: life.log.head(),
    });
    let Some(mut replay) = joined.replay else {
        return Vec::new();
    };
    let limit = PieceLimit {
        entries: 10_000,
        bytes: usize::MAX,
    };
    let mut piece = Vec::new();
    while let Progress::More = life.log.replay(&mut replay, limit, &mut piece) {}
    let frames = piece.iter().map(|entry| {
        let frame = encoded(&entry.signal());
        (entry.id, frame)
    });
    frames.collect()
}

#[tokio::test]
async fn no_damage_revives_a_token_or_alters_an_event() {
    let histories = Histories::make().await;
    let mut random = fastrand::Rng::with_seed(17);
    let (mut refused, mut logged_out, mut whole) = (0, 0, 0);
    // The first rounds damage nothing.
    for round in 0..ROUNDS + histories.images.len() {
        let image = &histories.images[round % histories.images.len()];
        let directory = memory_directory();
        copy(image.path(), directory.path());
        let mut damages = Vec::new();
        if round >= histories.images.len() {
            // Twice in every fifth round.
            for _ in 0..=usize::from(random.u32(..5) == 0) {
                // Another file is chosen if one is missing or empty.
                damages.push(loop {
                    if let Some(damage) = damage(&mut random, directory.path()) {
                        break damage;
                    }
                });
            }
        }
        let is_main_whole = damages.iter().all(|(file, _)| *file != "history.sqlite");
        let what = format!("round {round}: {damages:?}");
        let life = Life::new(directory.path(), Fsync::Interval, END_MS);
        if let Err(error) = life.engine.open(no_node()).await {
            let error = error.to_string();
            assert!(!is_main_whole, "{what}: {error}");
            let is_one_line = !error.contains('\n') && error.starts_with("history.path: `");
            assert!(is_one_line && error.contains("move"), "{what}: {error}");
            refused += 1;
            continue;
        }
        for (user, session, issued_ms) in revoked() {
            let is_let_in = life.lets_in(user, session, issued_ms);
            assert!(!is_let_in, "{what}: {user} {session:?} {issued_ms}");
        }
        for (id, frame) in replayed(&life) {
            assert_eq!(histories.frames.get(&id), Some(&frame), "{what}: {id}");
        }
        let newest = histories.frames.keys().max().copied().unwrap();
        let is_everyone_in = life.lets_in("nobody", None, 1) && life.lets_in("a", Some("a1"), 1);
        if damages.is_empty() {
            let expected = histories.frames.keys().filter(|id| **id <= newest).count();
            assert!(replayed(&life).len() <= expected);
            assert!(is_everyone_in, "{what}");
        }
        // If one file besides the main one is damaged, the others make up for it.
        if let [(file, _)] = damages.as_slice()
            && is_main_whole
            && (*file != "history.sqlite-wal" || round % histories.images.len() < 2)
        {
            assert!(is_everyone_in, "{what}");
        }
        logged_out += usize::from(!is_everyone_in);
        whole += usize::from(is_everyone_in);
        if round % 3 > 0 {
            life.engine.close().await;
            continue;
        }
        // The history continues: what is accepted now is there at the next start, and whole.
        let id = life.publish(None, true).await.unwrap();
        assert!(id > newest || !damages.is_empty(), "{what}");
        life.engine.close().await;
        let again = Life::begin(directory.path(), Fsync::Interval, END_MS).await;
        assert!(
            replayed(&again).iter().any(|(kept, _)| *kept == id),
            "{what}"
        );
        for (user, session, issued_ms) in revoked() {
            assert!(!again.lets_in(user, session, issued_ms), "{what}, again");
        }
        again.engine.close().await;
    }
    // The rounds do not all end alike.
    assert!(
        refused < ROUNDS / 4 && logged_out > ROUNDS / 50 && whole > ROUNDS / 4,
        "{refused} refused, {logged_out} logged out, {whole} whole"
    );
}
