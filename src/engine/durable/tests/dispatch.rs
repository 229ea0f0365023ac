//! The store's thread dispatches what it has stored, before it answers.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use crate::engine::test_hub::hub_on;

#[tokio::test]
async fn an_event_is_dispatched_when_its_publisher_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let life = Life::new(directory.path(), Fsync::Interval, 1_000);
    let engine = Arc::new(life.engine);
    let hub = hub_on(Arc::clone(&engine) as _, Arc::clone(&life.log), &life.clock);
    let node: Arc<dyn LocalNode> = hub.clone();
    engine.open(Arc::downgrade(&node)).await.unwrap();
    // From now on, the dispatcher could do its work, but is not polled.
    let dispatcher = pin!(hub.dispatch());
    let polled = dispatcher.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    let draft = Draft {
        to: Target::All,
        name: EventName::default(),
        data: "x".into(),
        source_id: None,
        is_kept: true,
    };
    for _ in 0..3 {
        let answers = hub.publish(vec![draft.clone(), draft.clone()]).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(life.log.dispatched_position(), life.log.head());
    }
    assert!(hub.inbox(0).has_entries());
    engine.close().await;
}
