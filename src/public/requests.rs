//! Requests during an upgrade. No connection begins another request once the hand-over comes to its end: two processes
//! would answer it differently. Then connections between two requests move to the new process, or go on here if the
//! upgrade has failed.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// What happens to the next request of each connection, and how many are under way.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: watch::Sender<NextRequest>,
    under_way: AtomicUsize,
}

/// What happens to the next request of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NextRequest {
    /// This process answers it.
    #[default]
    Answered,
    /// It waits.
    Held,
    /// Another process answers it.
    PassedOn,
}

impl Requests {
    /// Lets the next requests wait. [`Requests::under_way`] counts what has begun before.
    pub(crate) fn hold(&self) {
        self.next.send_replace(NextRequest::Held);
    }

    /// Answers requests again.
    pub(crate) fn answer(&self) {
        self.next.send_replace(NextRequest::Answered);
    }

    /// Passes connections on to another process from now on, each when it is between two requests.
    pub(crate) fn pass_on(&self) {
        self.next.send_replace(NextRequest::PassedOn);
    }

    /// The number of requests that are being answered, or may have begun.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// True if another process answers from now on.
    pub(super) fn are_passed_on(&self) -> bool {
        *self.next.borrow() == NextRequest::PassedOn
    }

    pub(super) fn next(&self) -> watch::Receiver<NextRequest> {
        self.next.subscribe()
    }

    /// Begins a request, if this process answers it. It is under way until [`Requests::end`].
    pub(super) fn begin(&self) -> NextRequest {
        // In this order: whoever holds requests and then counts them misses none that does not see that.
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let next = *self.next.borrow();
        if next != NextRequest::Answered {
            self.end();
        }
        next
    }

    /// Ends what was [begun](Requests::begin).
    pub(super) fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
