//! What a publisher appends is dispatched on the publisher's own thread, if nothing is in the way.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::engine::test_hub::hub_on;
use crate::event::{EventName, Position, Target};
use crate::hub::{Command, Hub};

const HISTORY: Duration = Duration::from_secs(600);

/// A hub of one shard on a memory engine whose log has this size.
fn hub(log_bytes: usize, clock: &Clock) -> Arc<Hub> {
    let log = Arc::new(Log::new(log_bytes, HISTORY, EventId::origin(1)));
    let engine = Arc::new(MemoryEngine::new(Arc::clone(&log), clock.clone()));
    let hub = hub_on(Arc::clone(&engine) as _, log, clock);
    let node: Arc<dyn LocalNode> = hub.clone();
    assert!(poll(pin!(engine.open(Arc::downgrade(&node)))).is_ready());
    hub
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn broadcast(data: &str) -> Draft {
    Draft {
        to: Target::All,
        name: EventName::default(),
        data: data.into(),
        source_id: None,
        is_kept: true,
    }
}

/// The positions of the entries in the shard's inbox, which is empty then.
fn delivered(hub: &Hub) -> Vec<u64> {
    let mut commands = VecDeque::new();
    hub.inbox(0).take(&mut commands);
    let position = |command: Command| match command {
        Command::Deliver { outgoing, .. } => outgoing.entry().position.0,
        other => panic!("{other:?}"),
    };
    commands.into_iter().map(position).collect()
}

#[test]
fn an_event_is_dispatched_when_its_publisher_is_answered() {
    let hub = hub(1 << 20, &Clock::manual(1_000));
    let mut dispatcher = pin!(hub.dispatch());
    assert!(poll(dispatcher.as_mut()).is_pending());
    assert!(poll(pin!(hub.publish(vec![broadcast("1"), broadcast("2")]))).is_ready());
    assert_eq!(delivered(&hub), [1, 2]);
    assert_eq!(hub.log().dispatched_position(), Position(2));
    // The task finds nothing more.
    assert!(poll(dispatcher.as_mut()).is_pending());
    assert!(delivered(&hub).is_empty());
}

#[test]
fn without_a_dispatcher_nothing_is_dispatched() {
    let hub = hub(1 << 20, &Clock::manual(1_000));
    assert!(poll(pin!(hub.publish(vec![broadcast("1")]))).is_ready());
    assert!(delivered(&hub).is_empty());
    assert!(poll(pin!(hub.dispatch())).is_pending());
    assert_eq!(delivered(&hub), [1]);
}

#[test]
fn while_another_process_follows_all_entries_pass_through_the_tap() {
    let hub = hub(1 << 20, &Clock::manual(1_000));
    let mut dispatcher = pin!(hub.dispatch());
    assert!(poll(dispatcher.as_mut()).is_pending());
    let mut cut = pin!(hub.cut());
    assert!(poll(cut.as_mut()).is_pending() && poll(dispatcher.as_mut()).is_pending());
    let Poll::Ready(Some(mut cut)) = poll(cut) else {
        panic!("no cut");
    };
    assert!(poll(pin!(hub.publish(vec![broadcast("1")]))).is_ready());
    assert!(delivered(&hub).is_empty(), "the task does it");
    assert!(poll(dispatcher.as_mut()).is_pending());
    assert_eq!(delivered(&hub), [1]);
    assert_eq!(cut.tapped.try_recv().unwrap().position, Position(1));
    // Nobody follows any more: the task notices it at the next entry, and then publishers dispatch again.
    drop(cut);
    for number in [2, 3] {
        assert!(poll(pin!(hub.publish(vec![broadcast("n")]))).is_ready());
        let before = delivered(&hub);
        assert!(poll(dispatcher.as_mut()).is_pending());
        let after = delivered(&hub);
        assert_eq!([before, after].concat(), [number]);
        assert_eq!(hub.log().dispatched_position(), Position(number));
    }
}

/// Takes what is in the shard's inbox at the moment when it is woken.
struct InboxAtWakeUp {
    hub: Arc<Hub>,
    taken: Mutex<Vec<u64>>,
}

impl Wake for InboxAtWakeUp {
    fn wake(self: Arc<Self>) {
        self.taken.lock().extend(delivered(&self.hub));
    }
}

#[test]
fn an_entry_is_in_the_inboxes_before_it_counts_as_dispatched() {
    let hub = hub(1 << 20, &Clock::manual(1_000));
    assert!(poll(pin!(hub.publish(vec![broadcast("1"), broadcast("2")]))).is_ready());
    let inbox = Arc::new(InboxAtWakeUp {
        hub: Arc::clone(&hub),
        taken: Mutex::default(),
    });
    let mut dispatched = pin!(hub.log().all_dispatched());
    let waker = Waker::from(Arc::clone(&inbox));
    let mut context = Context::from_waker(&waker);
    assert!(dispatched.as_mut().poll(&mut context).is_pending());
    assert!(poll(pin!(hub.dispatch())).is_pending());
    assert_eq!(*inbox.taken.lock(), [1, 2]);
    assert!(poll(dispatched).is_ready());
}

#[test]
fn a_group_that_is_larger_than_the_log_is_dispatched_while_it_is_published() {
    let clock = Clock::manual(1_000);
    let large = "d".repeat(20_000);
    let drafts = || (0..10).map(|_| broadcast(&large)).collect::<Vec<_>>();
    // By the publisher itself.
    let small = hub(64 << 10, &clock);
    let mut dispatcher = pin!(small.dispatch());
    assert!(poll(dispatcher.as_mut()).is_pending());
    let Poll::Ready(answers) = poll(pin!(small.publish(drafts()))) else {
        panic!("the publisher waits");
    };
    assert!(answers.iter().all(Result::is_ok));
    // By the task, because another process follows.
    let small = hub(64 << 10, &clock);
    let mut dispatcher = pin!(small.dispatch());
    assert!(poll(dispatcher.as_mut()).is_pending());
    let mut cut = pin!(small.cut());
    assert!(poll(cut.as_mut()).is_pending() && poll(dispatcher.as_mut()).is_pending());
    let drafts = drafts();
    let mut publishing = pin!(small.publish(drafts));
    let mut rounds = 0;
    while poll(publishing.as_mut()).is_pending() {
        assert!(rounds < 10, "nobody has woken the dispatcher");
        assert!(poll(dispatcher.as_mut()).is_pending());
        rounds += 1;
    }
    assert!(rounds > 0, "the log had room for all");
}

#[test]
fn what_a_publisher_has_appended_is_dispatched_even_if_the_publisher_leaves() {
    let small = hub(64 << 10, &Clock::manual(1_000));
    let mut dispatcher = pin!(small.dispatch());
    assert!(poll(dispatcher.as_mut()).is_pending());
    let mut cut = pin!(small.cut());
    assert!(poll(cut.as_mut()).is_pending() && poll(dispatcher.as_mut()).is_pending());
    {
        let drafts = (0..10).map(|_| broadcast(&"d".repeat(20_000))).collect();
        let mut publishing = pin!(small.publish(drafts));
        assert!(poll(publishing.as_mut()).is_pending());
    }
    let appended = small.log().head();
    assert!(poll(dispatcher.as_mut()).is_pending());
    assert_eq!(small.log().dispatched_position(), appended);
}

#[test]
fn publishers_on_several_threads_and_the_task_dispatch_each_entry_once_and_in_order() {
    const PUBLISHERS: u64 = 4;
    const EVENTS: u64 = 500;
    let hub = hub(16 << 20, &Clock::manual(1_000));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let dispatcher = Arc::clone(&hub);
    runtime.spawn(async move { dispatcher.dispatch().await });
    std::thread::scope(|scope| {
        for _ in 0..PUBLISHERS {
            scope.spawn(|| {
                for _ in 0..EVENTS {
                    let answers = poll(pin!(hub.publish(vec![broadcast("d")])));
                    assert!(matches!(answers, Poll::Ready(answers) if answers[0].is_ok()));
                }
            });
        }
    });
    // What no publisher could dispatch, the task does.
    let last = hub.log().newest_id();
    let generation = hub.log().generation();
    let dispatched = async {
        let dispatched = hub.log().dispatched(last, generation);
        // Real time: it ends the wait only if an entry is forgotten.
        tokio::time::timeout(Duration::from_secs(20), dispatched).await
    };
    let timer = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    assert_eq!(timer.block_on(dispatched), Ok(true));
    let all: Vec<u64> = (1..=PUBLISHERS * EVENTS).collect();
    assert_eq!(delivered(&hub), all);
}
