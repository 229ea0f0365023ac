//! How a request leaves hyper: the service offers a stream and stays pending. The driver waits until
//! everything before it is flushed, and takes or refuses the offer.

use std::cell::RefCell;
use std::task::Poll;

use crate::shard::{Admission, Declined};

/// A stream that was checked and waits for its seat. A place is reserved for its user: the driver
/// releases it if the stream gets no seat, and the connection if the driver does not take the offer.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) admission: Admission,
    /// Status line and header fields, as the client receives them.
    pub(crate) head: Vec<u8>,
}

/// The cell that one connection's service and driver share; both run on the shard's thread.
#[derive(Debug, Default)]
pub(crate) struct Handoff(RefCell<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Empty,
    Offered(Offer),
    Declined(Declined),
}

impl Handoff {
    /// For the service: offers a stream and waits. Returns only if the offer is refused: if it is taken,
    /// this future is dropped with hyper's connection.
    pub(crate) async fn offer(&self, offer: Offer) -> Declined {
        *self.0.borrow_mut() = State::Offered(offer);
        // The driver polls again right after it refused, so no waker is needed.
        std::future::poll_fn(|_| {
            let mut state = self.0.borrow_mut();
            match std::mem::take(&mut *state) {
                State::Declined(declined) => Poll::Ready(declined),
                other => {
                    *state = other;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// For the driver: the offer, if there is one.
    pub(crate) fn take(&self) -> Option<Offer> {
        let mut state = self.0.borrow_mut();
        match std::mem::take(&mut *state) {
            State::Offered(offer) => Some(offer),
            other => {
                *state = other;
                None
            }
        }
    }

    /// For the driver: refuses the offer that it took. The service has to be polled afterwards.
    pub(crate) fn refuse(&self, declined: Declined) {
        *self.0.borrow_mut() = State::Declined(declined);
    }
}
