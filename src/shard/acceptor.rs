//! Accepts connections from a listener, within the limit on handshakes, and starts a handshake on each.

#![allow(clippy::indexing_slicing)] // a shard has metrics of its own number

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::watch;

use super::returned::Earlier;
use super::shard::Shard;
use super::shared::Shared;
use crate::net::{Acceptor, Handshake, Handshakes, Preface, Socket};

/// A connection that was just accepted, or whose stream has just ended.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub(crate) socket: Socket,
    /// Its place among the handshakes.
    pub(crate) handshake: Handshake,
    /// What has to precede its first request.
    pub(crate) preface: Preface,
    /// Only for a connection that has been a stream: what preceded its first request.
    pub(crate) earlier: Option<Earlier>,
}

/// The function that starts a handshake, and serves what has arrived already. The layer above provides it; the shard's thread calls it.
pub type StartHandshake = Box<dyn Fn(Accepted, &Rc<RefCell<Shard>>)>;

/// Starts a handshake on each new connection of a listener. Runs until its task is aborted.
pub(super) async fn accept(
    mut acceptor: Acceptor,
    shared: Shared,
    handshakes: Rc<Handshakes>,
    shard: Rc<RefCell<Shard>>,
    start: Rc<StartHandshake>,
    mut may_accept: watch::Receiver<bool>,
) {
    let number = shard.borrow().number();
    let looked_at = may_accept.clone();
    let errors = &shared.metrics.shards[usize::from(number)].accept_errors;
    loop {
        handshakes.room().await;
        if may_accept.wait_for(|may_accept| *may_accept).await.is_err() {
            return;
        }
        let socket = tokio::select! {
            biased;
            // Looks first, and waits only together with the acceptor: the wait costs more than the look.
            () = is_paused(&looked_at) => continue,
            socket = acceptor.next(&shared.clock, || errors.increment()) => socket,
            _ = may_accept.wait_for(|may_accept| !*may_accept) => continue,
        };
        let handshake = handshakes.enter(socket.peer_ip());
        let accepted = Accepted {
            socket,
            handshake,
            preface: acceptor.preface(),
            earlier: None,
        };
        start(accepted, &shard);
    }
}

/// Is ready if polled while no connection may be accepted. Wakes nobody.
async fn is_paused(may_accept: &watch::Receiver<bool>) {
    poll_fn(|_| {
        if *may_accept.borrow() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}
