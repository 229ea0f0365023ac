//! Offers a stream that was checked to the driver of its connection, whatever the transport.

use hyper::Request;
use hyper::body::Incoming;

use super::connection::{HttpConnection, Offer};
use super::identify::Asker;
use super::refusal::{Refusal, Refused};
use super::reloadable::Reloadable;
use crate::hub::Rejection;
use crate::shard::Admission;

/// Reserves a place and offers the stream to the driver, unless the client closes its side meanwhile. At the user's
/// limit, the stream is offered once more if dead connections could be closed. `head` makes the head of the response.
/// Returns only if the stream is refused.
pub(super) async fn offer(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
    admission: Admission,
    head: impl Fn(&Admission) -> Vec<u8>,
) -> Refused {
    // As in `run_until_closed`, which would reserve space for this future twice.
    connection.forbid_half_close();
    let hub = &connection.public.hub;
    let offer = async |admission: Admission| {
        let read = hub.read_up_to(admission.last_event_id.as_deref());
        connection.answer_of(read).await;
        if let Some(identity) = &admission.identity
            && let Err(reason) = connection.answer_of(hub.reserve(identity)).await
        {
            return admission.declined(reason);
        }
        let head = head(&admission);
        connection.handoff.offer(Offer { admission, head }).await
    };
    let mut declined = offer(admission).await;
    // Boxed because it is rare.
    if let (Some(admission), Some(user)) = (declined.again.take(), &declined.user)
        && connection
            .run_protected(Box::pin(hub.close_dead(user)))
            .await
    {
        declined = offer(*admission).await;
    }
    connection.allow_half_close();
    let refused = Refused::from(declined);
    if refused.reason == Refusal::Unauthenticated {
        Asker::of(connection, reloadable, request).denied("session_ended");
    }
    refused
}

/// Checks whether the same request would be admitted with GET. At the user's limit, this takes as long as
/// a GET would, but closes only connections that have already ended.
pub(super) async fn would_admit(
    connection: &HttpConnection,
    admission: &Admission,
) -> Result<(), Rejection> {
    let hub = &connection.public.hub;
    let identity = admission.identity.as_ref();
    let before = hub.would_admit(identity);
    let Some(who) = identity else {
        return before;
    };
    match before {
        Ok(()) => {
            let has_place = connection.answer_of(hub.has_place(who));
            let has_place = connection.run_until_closed(has_place).await;
            has_place.then_some(()).ok_or(Rejection::Limit)
        }
        Err(Rejection::Limit) => {
            let room = hub.has_room_without_dead(&who.user);
            let has_room = connection
                .run_until_closed(connection.run_protected(room))
                .await;
            match hub.would_admit(identity) {
                Err(Rejection::Limit) if has_room => Ok(()),
                after => after,
            }
        }
        before => before,
    }
}
