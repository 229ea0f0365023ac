//! Takes connections from a listener, within the bounds of the handshakes, and starts one on each.

#![allow(clippy::indexing_slicing)] // a shard has metrics of its own number

use std::cell::RefCell;
use std::rc::Rc;

use super::returned::Earlier;
use super::shard::Shard;
use super::shared::Shared;
use crate::net::{Acceptor, Handshake, Handshakes, Preface, Socket};

/// A connection that was just accepted, or that has just ended being a stream.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub(crate) socket: Socket,
    /// Its place among the handshakes.
    pub(crate) handshake: Handshake,
    /// What has to come before its first request.
    pub(crate) preface: Preface,
    /// What is known of it where that has come already, because it has been a stream.
    pub(crate) earlier: Option<Earlier>,
}

/// What starts a handshake on a shard: layer 4's entry, called on the shard's thread.
pub type StartHandshake = Box<dyn Fn(Accepted, &Rc<RefCell<Shard>>)>;

/// Starts a handshake on each connection of a listener, until the task is dropped.
pub(super) async fn accept(
    mut acceptor: Acceptor,
    shared: Shared,
    handshakes: Rc<Handshakes>,
    shard: Rc<RefCell<Shard>>,
    start: Rc<StartHandshake>,
) {
    let number = shard.borrow().number();
    let errors = &shared.metrics.shards[usize::from(number)].accept_errors;
    loop {
        handshakes.room().await;
        let socket = acceptor.next(&shared.clock, || errors.increment()).await;
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
