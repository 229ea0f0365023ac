//! The loop of a shard's thread: a turn, then what the turn has left for the runtime, then sleep.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use tokio::sync::watch;

use super::acceptor::{Accepted, StartHandshake, accept};
use super::handover::{enter, leave};
use super::shard::Shard;
use super::turns::Turns;
use crate::hub::Move;
use crate::net::{Acceptor, Handshakes, PassageExit};

/// The time without new handshakes and without changes in the number of streams, after which a thread's
/// free memory is returned to the kernel.
const COLLECT_AFTER_MS: u64 = 2_000;

/// Runs a shard: accepts connections from [`Shards::open`](super::thread::Shards::open) until the drain, and returns
/// after the last stream has ended.
pub(super) async fn serve(
    shard: Rc<RefCell<Shard>>,
    handshakes: Rc<Handshakes>,
    acceptors: Vec<Acceptor>,
    exit: PassageExit,
    start: Rc<StartHandshake>,
) {
    let shared = shard.borrow().shared().clone();
    let number = shard.borrow().number();
    let mut closed = Some(acceptors);
    let may_accept = watch::Sender::new(false);
    let mut accepting: Option<Vec<_>> = None;
    let mut turns = Turns::new(&shard);
    let mut collect_at_ms = None;
    let mut seen_activity = (0, 0);
    loop {
        // One clock reading per turn. Everything is either due by it or counted for the next wake-up.
        let now_ms = shared.clock.now_ms();
        shard.borrow_mut().connections.exits.room = handshakes.room_for_returned();
        let is_busy = turns.take(&shard, now_ms);
        give_back(&shard, &handshakes, &start);
        // What was given back is served already, and may have work for the next turn.
        let is_busy = is_busy || shard.borrow().connections.has_work();
        let is_open = shared.hub.inbox(number).is_open();
        may_accept.send_if_modified(|before| std::mem::replace(before, is_open) != is_open);
        move_streams(&shard, &exit);
        if is_open && let Some(acceptors) = closed.take() {
            let accept = |acceptor| {
                let (shared, shard) = (shared.clone(), Rc::clone(&shard));
                let (handshakes, start) = (Rc::clone(&handshakes), Rc::clone(&start));
                let may_accept = may_accept.subscribe();
                let accept = accept(acceptor, shared, handshakes, shard, start, may_accept);
                tokio::task::spawn_local(accept)
            };
            accepting = Some(acceptors.into_iter().map(accept).collect());
        }
        if shard.borrow().is_draining() {
            closed = None;
            for task in accepting.take().into_iter().flatten() {
                task.abort();
            }
            // A stop does not wait for requests that may never complete.
            if shard.borrow().len() == 0 && (handshakes.len() == 0 || turns.is_stopped) {
                shared.hub.inbox(number).close();
                return;
            }
        }
        if is_busy {
            tokio::task::yield_now().await;
            continue;
        }
        // Handshakes and ended streams leave memory that can be returned.
        let activity = (handshakes.entered(), shard.borrow().len());
        if activity != seen_activity {
            seen_activity = activity;
            collect_at_ms = Some(now_ms + COLLECT_AFTER_MS);
        } else if collect_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            shard.borrow_mut().release_memory();
            collect_at_ms = None;
        }
        let wake_at_ms = Turns::wake_at_ms(&shard, now_ms, collect_at_ms);
        // Otherwise, a handshake that ends is noticed when memory is collected. A wake-up for each would be a good part of
        // what a connect costs a shard that is not busy.
        let waits_for_handshakes = shard.borrow().is_draining() || collect_at_ms.is_none();
        let handshakes = waits_for_handshakes.then_some(&*handshakes);
        turns.sleep(handshakes, &shared, wake_at_ms).await;
    }
}

/// Starts what was ordered: streams leave for another process, or come from one.
fn move_streams(shard: &Rc<RefCell<Shard>>, exit: &PassageExit) {
    let orders = {
        let shard = shard.borrow();
        shard.shared().hub.inbox(shard.number()).take_moves()
    };
    for order in orders {
        let shard = Rc::clone(shard);
        let socket = exit.take().map(UnixStream::from);
        match order {
            Move::Leave(progress) => {
                shard.borrow_mut().connections.begin_leaving();
                tokio::task::spawn_local(leave(shard, socket, progress));
            }
            Move::Enter(progress) => {
                tokio::task::spawn_local(enter(shard, socket, progress));
            }
        }
    }
}

/// Starts a handshake on each connection whose stream has ended, so that its client can send another request.
fn give_back(shard: &Rc<RefCell<Shard>>, handshakes: &Rc<Handshakes>, start: &Rc<StartHandshake>) {
    let (returned, is_draining) = {
        let mut shard = shard.borrow_mut();
        (shard.connections.take_returned(), shard.is_draining())
    };
    for connection in returned {
        let room = if connection.is_taken_in {
            handshakes.room_for_taken_in()
        } else {
            handshakes.room_for_returned()
        };
        if is_draining || room == 0 {
            if connection.is_taken_in {
                tracing::debug!("no room for a connection of the other process");
            }
            connection.close();
            continue;
        }
        match connection.reopen() {
            Ok((socket, preface, earlier)) => {
                let handshake = handshakes.enter(earlier.named.or(socket.peer_ip()));
                let accepted = Accepted {
                    socket,
                    handshake,
                    preface,
                    earlier: Some(earlier),
                };
                start(accepted, shard);
            }
            Err(error) => tracing::debug!(%error, "a connection was gone after its stream"),
        }
    }
}
