#[path = "tests/dispatch.rs"]
mod dispatch;

use std::time::Duration;

use super::super::tail::{COMMAND_TIMEOUT, MAX_COMMANDS, ROOM_TIMEOUT};
use super::*;
use crate::event::{EventName, Target, UserId};
use crate::wire::Signal;

fn draft(source_id: Option<&str>) -> Draft {
    Draft {
        to: Target::All,
        name: EventName::default(),
        data: "{}".into(),
        source_id: source_id.map(Into::into),
        is_kept: true,
    }
}

fn engine() -> (MemoryEngine, Arc<Log>, Clock) {
    let clock = Clock::manual(1_000_000);
    let log = Arc::new(Log::new(
        16 << 20,
        Duration::from_secs(600),
        EventId::origin(1),
    ));
    (
        MemoryEngine::new(Arc::clone(&log), clock.clone()),
        log,
        clock,
    )
}

async fn publish(engine: &MemoryEngine, draft: Draft) -> Result<EventId, EngineError> {
    engine.publish(vec![draft]).await.remove(0)
}

#[tokio::test]
async fn a_source_id_is_published_once_in_ten_minutes() {
    let (engine, log, clock) = engine();
    let first = publish(&engine, draft(Some("a"))).await.unwrap();
    let other = publish(&engine, draft(Some("b"))).await.unwrap();
    clock.advance(Duration::from_secs(600));
    assert_eq!(publish(&engine, draft(Some("a"))).await, Ok(first));
    assert_ne!(first, other);
    assert_eq!(log.retained().1, 2);
    clock.advance(Duration::from_secs(1));
    assert_ne!(publish(&engine, draft(Some("a"))).await, Ok(first));
}

#[tokio::test]
async fn a_publisher_far_ahead_of_delivery_is_refused() {
    let (engine, log, clock) = engine();
    for _ in 0..crate::hub::log::MAX_UNDISPATCHED {
        publish(&engine, draft(None)).await.unwrap();
    }
    let held = tokio::spawn(async move { publish(&engine, draft(None)).await });
    tokio::task::yield_now().await;
    clock.advance(ROOM_TIMEOUT);
    assert_eq!(held.await.unwrap(), Err(EngineError::Behind));
    assert_eq!(
        log.retained().1,
        usize::try_from(crate::hub::log::MAX_UNDISPATCHED).unwrap()
    );
}

fn disconnect() -> Control {
    Control::Disconnect {
        user: UserId::new("42").unwrap(),
    }
}

#[tokio::test]
async fn a_command_passes_a_log_without_room_and_leaves_nothing_in_it() {
    let (engine, log, _) = engine();
    for _ in 0..crate::hub::log::MAX_UNDISPATCHED {
        publish(&engine, draft(None)).await.unwrap();
    }
    let before = (log.dispatched_cursor(), log.retained().1);
    let dispatcher = async {
        loop {
            for entry in log.next_batch(1_024).await {
                if let Record::Control { control, receipt } = &entry.record {
                    // After everything that was published before it, and in no replay.
                    assert_eq!(before.1 as u64 + 1, entry.position.0);
                    assert!(*control == disconnect() && entry.is_fleeting());
                    receipt.give(3);
                }
                log.mark_dispatched(&entry, 0);
            }
        }
    };
    let ended = tokio::select! {
        ended = engine.command(disconnect()) => ended,
        () = dispatcher => unreachable!(),
    };
    assert_eq!(ended, Ok(3));
    assert_eq!(log.retained().1, before.1);
    // Its id is not the position of any client.
    let after = log.dispatched_cursor();
    assert!(before.0.id < after.id && after.id < log.newest_id());
}

#[tokio::test]
async fn a_command_that_is_not_carried_out_times_out_and_the_number_under_way_is_bounded() {
    let (engine, log, clock) = engine();
    let engine = Arc::new(engine);
    let waiting: Vec<_> = (0..MAX_COMMANDS)
        .map(|_| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.command(disconnect()).await })
        })
        .collect();
    while log.head().0 < MAX_COMMANDS as u64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.command(disconnect()).await, Err(EngineError::Behind));
    clock.advance(COMMAND_TIMEOUT);
    for ended in waiting {
        assert_eq!(ended.await.unwrap(), Err(EngineError::Unknown));
    }
    // They are still in the log, and still count.
    assert_eq!(engine.command(disconnect()).await, Err(EngineError::Behind));
}

#[tokio::test]
async fn an_event_that_is_not_kept_has_no_id() {
    let (engine, log, _) = engine();
    let mut fleeting = draft(None);
    fleeting.is_kept = false;
    publish(&engine, fleeting).await.unwrap();
    let entry = &log.next_batch(1).await[0];
    assert!(matches!(entry.signal(), Signal::Event(event) if event.id.is_none()));
}

#[tokio::test]
async fn another_process_knows_publishers_ids_before_the_old_one_has_stopped() {
    let (old, old_log, clock) = engine();
    let early = publish(&old, draft(Some("early"))).await.unwrap();
    clock.advance(Duration::from_secs(400));
    let new_log = Arc::new(Log::new(
        16 << 20,
        Duration::from_secs(600),
        EventId::origin(1),
    ));
    let new = MemoryEngine::new(Arc::clone(&new_log), clock.clone());
    publish(&old, draft(None)).await.unwrap();
    let late = publish(&old, draft(Some("late"))).await.unwrap();
    let lost = publish(&old, draft(Some("lost"))).await.unwrap();
    // The last two come with their entries, and one of those never comes.
    let sources = old.sources(early);
    assert_eq!(sources.len(), 1);
    new.follow_sources(&sources).unwrap();
    for entry in &old_log.next_batch(4).await[..3] {
        new.follow(&old.describe(entry)).unwrap();
    }
    new.go_on_alone(true).await.unwrap();
    assert_eq!(publish(&new, draft(Some("early"))).await, Ok(early));
    assert_eq!(publish(&new, draft(Some("late"))).await, Ok(late));
    assert_ne!(publish(&new, draft(Some("lost"))).await, Ok(lost));
    clock.advance(Duration::from_secs(201));
    assert_ne!(publish(&new, draft(Some("early"))).await, Ok(early));
    assert_eq!(publish(&new, draft(Some("late"))).await, Ok(late));
}
