//! Accepts admin connections and finds each a place.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::serve::serve_connection;
use crate::admin::service::Admin;
use crate::config::MAX_LEAVING;
use crate::net::{Acceptor, Listener, Socket};

/// Silence after which a peer is asked whether it is still there, the time between two such
/// questions, and how many go without an answer before it is given up: two minutes together.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// Serves a listener until its task is dropped.
///
/// # Errors
/// What the runtime says when it takes the listener over.
pub(crate) async fn serve(admin: Arc<Admin>, listener: Listener) -> io::Result<()> {
    let mut acceptor = Acceptor::new(listener)?;
    let mut leaving = VecDeque::with_capacity(MAX_LEAVING + 1);
    loop {
        let socket = acceptor.next(&admin.hub.clock, || ()).await;
        keep_alive(&socket);
        let (place, cut) = admin.places.enter(socket.peer());
        tokio::spawn(serve_connection(Arc::clone(&admin), socket, place));
        leaving.extend(cut);
        // Their descriptors are open until their tasks have had a turn.
        if leaving.len() > MAX_LEAVING
            && let Some(first) = leaving.pop_front()
        {
            first.is_gone().await;
        }
    }
}

/// Without it a peer that is gone holds its place until another needs that.
fn keep_alive(socket: &Socket) {
    // A unix socket's peer is on this machine: the kernel knows when it is gone.
    if socket.peer().is_none() {
        return;
    }
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "admin: no keepalive");
    }
}
