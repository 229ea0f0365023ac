//! The end of a connection: its client gets time to read the last response, or to answer the last close frame.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::HttpConnection;
use super::io::Io;
use crate::shutdown::Waiter;
use crate::wire::websocket::FrameReader;

/// The most input that is still read after the last response. Closing with unread input would reset
/// the connection, and the client might lose the response.
const MAX_LINGER_BYTES: usize = 256 * 1024;
/// The time that a drain gives a client to read its last response and close: a slow round trip.
const DRAIN_LINGER: Duration = Duration::from_millis(500);

impl HttpConnection {
    /// Closes the connection during a drain. The client has read its last response before.
    pub(super) async fn close_idle(&self, mut io: Io) {
        self.loose_ends.pass_eof();
        let clock = &self.public.hub.clock;
        let _ = clock.within(DRAIN_LINGER, io.shutdown()).await;
    }

    /// Closes the connection after a response that the client may have yet to read. `early` came after the last request.
    pub(super) async fn close_after_response(&self, io: Io, early: &[u8], shutdown: &mut Waiter) {
        self.loose_ends.pass_eof();
        let frame = self.farewell.take();
        let farewell = async {
            match frame {
                Some(frame) => close_websocket(io, &frame, early).await,
                None => linger(io).await,
            }
        };
        tokio::select! {
            () = farewell => {}
            () = self.drain_lingers(shutdown) => {}
        }
    }

    /// Waits for a drain, and then for the time that clients have to read their last response.
    async fn drain_lingers(&self, shutdown: &mut Waiter) {
        shutdown.draining().await;
        self.public.hub.clock.sleep(DRAIN_LINGER).await;
    }
}

/// Gives the client time to read the last response before the socket is closed. The caller enforces the
/// connection's deadline.
pub(super) async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    if io.shutdown().await.is_err() {
        return;
    }
    // Not an array, which would be part of each connection's future.
    let mut scratch = vec![0; 4_096];
    let mut read = 0;
    while read < MAX_LINGER_BYTES {
        match io.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => read += bytes,
        }
    }
}

/// Sends a close frame, waits for the client's (RFC 6455 §7.1.1), and closes. `early` came with the handshake. Ends at
/// the connection's deadline at the latest.
async fn close_websocket(mut io: impl AsyncRead + AsyncWrite + Unpin, frame: &[u8], early: &[u8]) {
    if io.write_all(frame).await.is_err() || io.flush().await.is_err() {
        return;
    }
    let mut reader = FrameReader::default();
    let mut unread = early.to_vec();
    let mut read = 0;
    while read < MAX_LINGER_BYTES {
        let received = reader.read(&unread);
        if received.closing.is_some() {
            break;
        }
        let taken = received.taken;
        unread.drain(..taken);
        match io.read_buf(&mut unread).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => read += bytes,
        }
    }
    linger(io).await;
}
