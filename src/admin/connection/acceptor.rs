//! Accepts admin connections.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};

use super::serve::serve_connection;
use crate::admin::service::Admin;
use crate::config::MAX_LEAVING;
use crate::net::{Acceptor, Listener, Socket};

/// The first keep-alive probe after silence, the time between probes, and the number of unanswered
/// probes after which the connection is closed: two minutes together.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// Serves a listener until its task is dropped.
///
/// # Errors
/// The listener cannot be registered with the runtime.
pub(crate) async fn serve(admin: Arc<Admin>, listener: Listener) -> io::Result<()> {
    let mut acceptor = Acceptor::new(listener)?;
    let mut evicted_connections = VecDeque::with_capacity(MAX_LEAVING + 1);
    loop {
        admin.passing.ended().await;
        let socket = tokio::select! {
            biased;
            _ = admin.passing.begun() => continue,
            socket = acceptor.next(&admin.hub.clock, || ()) => socket,
        };
        keep_alive(&socket);
        let (open, evicted) = admin.connections.add(socket.peer());
        tokio::spawn(serve_connection(
            Arc::clone(&admin),
            socket,
            Bytes::new(),
            open,
        ));
        evicted_connections.extend(evicted);
        // Their descriptors stay open until their tasks have run.
        if evicted_connections.len() > MAX_LEAVING
            && let Some(first) = evicted_connections.pop_front()
        {
            first.wait_until_closed().await;
        }
    }
}

/// Without keep-alive, a peer that disappeared holds its place until the limit is reached.
fn keep_alive(socket: &Socket) {
    // A unix socket's peer is on this machine: the kernel reports its end.
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
