//! Polls a future again at once if it was woken meanwhile.
//!
//! hyper and the service share a task. When hyper has read a request's body, it wakes the service, so the task wakes
//! itself in every `POST`. To the runtime, a task that wakes itself is new work: it goes to the end of the queue, and
//! another thread is woken to take it. That costs more than all else that a small request needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Most polls in a row. A request needs two or three; a future that always wakes itself has to let others run.
const MAX_POLLS: u32 = 4;

/// Not being polled: a wake-up is passed on to the task.
const IDLE: u8 = 0;
/// Being polled, and not woken since.
const POLLING: u8 = 1;
/// Woken, and not polled since.
const WOKEN: u8 = 2;

/// Polls one future. All polls of the future must go through it.
#[derive(Debug)]
pub(super) struct Repoller {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Debug)]
struct State {
    phase: AtomicU8,
    /// The waker of the task that polls.
    task: Mutex<Waker>,
}

impl Repoller {
    /// A poller for a future that was not polled yet.
    pub(super) fn new() -> Self {
        let state = Arc::new(State {
            phase: AtomicU8::new(IDLE),
            task: Mutex::new(Waker::noop().clone()),
        });
        let waker = Waker::from(Arc::clone(&state));
        Self { state, waker }
    }

    /// Calls `poll` until it is ready or waits for something that has not happened yet.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.state.task.lock().clone_from(cx.waker());
        let mut inner = Context::from_waker(&self.waker);
        for _ in 0..MAX_POLLS {
            self.state.phase.store(POLLING, Ordering::Release);
            let ready = poll(&mut inner);
            if ready.is_ready() {
                return ready;
            }
            let idle = self.state.phase.compare_exchange(
                POLLING,
                IDLE,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if idle.is_ok() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.phase.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.lock().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task {
        wake_ups: AtomicUsize,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.wake_ups.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Scene {
        repoller: Repoller,
        task: Arc<Task>,
        polls: usize,
        /// The waker of the last poll.
        waker: Waker,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                repoller: Repoller::new(),
                task: Arc::default(),
                polls: 0,
                waker: Waker::noop().clone(),
            }
        }

        /// Polls a future that wakes itself in its first `self_wakes` polls, and never ends. Returns the number of
        /// polls.
        fn poll(&mut self, self_wakes: usize) -> usize {
            let before = self.polls;
            let task = Waker::from(Arc::clone(&self.task));
            let pending = self.repoller.poll(&mut Context::from_waker(&task), |cx| {
                self.polls += 1;
                self.waker = cx.waker().clone();
                if self.polls - before <= self_wakes {
                    cx.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            });
            assert!(pending.is_pending());
            self.polls - before
        }

        fn wake_ups(&self) -> usize {
            self.task.wake_ups.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_and_its_task_is_not_woken() {
        let mut scene = Scene::new();
        assert_eq!((scene.poll(1), scene.wake_ups()), (2, 0));
        assert_eq!((scene.poll(0), scene.wake_ups()), (1, 0));
    }

    #[test]
    fn a_wake_up_between_two_polls_reaches_the_task_once() {
        let mut scene = Scene::new();
        scene.poll(1);
        scene.waker.wake_by_ref();
        scene.waker.wake_by_ref();
        assert_eq!(scene.wake_ups(), 1);
        scene.poll(0);
        scene.waker.wake_by_ref();
        assert_eq!(scene.wake_ups(), 2);
    }

    #[test]
    fn a_future_that_always_wakes_itself_lets_other_tasks_run() {
        let mut scene = Scene::new();
        assert_eq!(scene.poll(usize::MAX), MAX_POLLS as usize);
        assert_eq!(scene.wake_ups(), 1);
        // The task is polled anyway.
        scene.waker.wake_by_ref();
        assert_eq!(scene.wake_ups(), 1);
    }
}
