//! How a request leaves hyper: the service offers a stream and stays pending; the driver, which
//! sees that everything before it is flushed, takes the offer or has it refused.

use std::cell::RefCell;
use std::task::Poll;

use crate::shard::{Admission, Declined};

/// A stream that was checked and waits for its seat. A place is reserved for its user: the driver
/// gives that back if the stream gets no seat, and the connection if nobody takes the offer.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) admission: Admission,
    /// Status line and header, as the client gets them.
    pub(crate) head: Vec<u8>,
}

/// One connection's cell between service and driver, both on the shard's thread.
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
    /// For the service: offers a stream and waits. Only a refusal ever comes back; a taken offer
    /// takes the connection, and this future, with it.
    pub(crate) async fn offer(&self, offer: Offer) -> Declined {
        *self.0.borrow_mut() = State::Offered(offer);
        // Polled again by the driver, right after it refused: no waker is needed.
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

    /// For the driver: answers the offer it took. The service has to be polled then.
    pub(crate) fn refuse(&self, declined: Declined) {
        *self.0.borrow_mut() = State::Declined(declined);
    }
}
