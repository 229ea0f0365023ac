//! Offers a stream that was checked to the driver of its connection, whatever the transport.

use super::connection::{HttpConnection, Offer};
use super::refusal::Refused;
use crate::hub::Rejection;
use crate::shard::Admission;

/// Waits for a future; a client that closes its side meanwhile no longer wants a stream.
pub(super) async fn awaiting<T>(connection: &HttpConnection, future: impl Future<Output = T>) -> T {
    connection.pass_end();
    let outcome = future.await;
    connection.hold_end();
    outcome
}

/// Reserves a place and offers the stream to the driver. At the user's limit it is offered once more
/// if dead connections have given way. `head` makes the head of the response. Returns only if the stream is refused.
pub(super) async fn offer(
    connection: &HttpConnection,
    admission: Admission,
    head: impl Fn(&Admission) -> Vec<u8>,
) -> Refused {
    let hub = &connection.public.hub;
    let offer = async |admission: Admission| {
        if let Some(identity) = &admission.identity
            && let Err(reason) = connection.answer_of(hub.reserve(identity)).await
        {
            return admission.declined(reason);
        }
        let head = head(&admission);
        connection.handoff.offer(Offer { admission, head }).await
    };
    let mut declined = offer(admission).await;
    if let (Some(admission), Some(user)) = (declined.again.take(), &declined.user)
        && connection.working(hub.make_room(user)).await
    {
        declined = offer(*admission).await;
    }
    declined.into()
}

/// Checks whether the same request would be admitted with GET. At the user's limit this takes as long
/// as with GET, but no connection gives way.
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
            let has_place = awaiting(connection, has_place).await;
            has_place.then_some(()).ok_or(Rejection::Limit)
        }
        Err(Rejection::Limit) => {
            let room = hub.would_make_room(&who.user);
            let has_room = awaiting(connection, connection.working(room)).await;
            match hub.would_admit(identity) {
                Err(Rejection::Limit) if has_room => Ok(()),
                after => after,
            }
        }
        before => before,
    }
}
