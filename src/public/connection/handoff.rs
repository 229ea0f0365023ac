//! Hands a request for a stream over from hyper to the shard. The service offers the stream and stays
//! pending. The driver waits until all earlier output is flushed, and then takes or refuses the offer.

use std::cell::RefCell;
use std::task::Poll;

use crate::shard::{Admission, Declined};

/// A stream that was checked and waits for its seat. A place is reserved for its user. If the stream gets
/// no seat, the driver releases the place. If the driver never takes the offer, the connection does.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) admission: Admission,
    /// The status line and header fields, as the client receives them.
    pub(crate) head: Vec<u8>,
}

/// The cell that a connection's service and driver share. Both run on the shard's thread.
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
    /// For the service: offers a stream and waits. Returns only if the offer is refused. If it is taken,
    /// this future is dropped together with hyper's connection.
    pub(crate) async fn offer(&self, offer: Offer) -> Declined {
        *self.0.borrow_mut() = State::Offered(offer);
        // The driver polls hyper again right after a refusal, so no waker is needed.
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

    /// For the driver: takes the offer, if there is one.
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

    /// For the driver: refuses the offer that it took. It has to poll the service afterwards.
    pub(crate) fn refuse(&self, declined: Declined) {
        *self.0.borrow_mut() = State::Declined(declined);
    }
}
