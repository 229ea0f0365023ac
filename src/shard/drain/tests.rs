use std::os::unix::net::UnixStream;

use super::Drain;
use crate::clock::Clock;
use crate::metrics::DisconnectReason;
use crate::shard::connection::Connection;
use crate::shard::model::shared;
use crate::shard::poller::Poller;
use crate::shard::{Admission, Detached, Shard};
use crate::wire::{End, Wire};

const STREAMS: u32 = 60;

#[tokio::test]
async fn each_tick_ends_its_share_of_the_streams_that_are_left() {
    let shared = shared(Clock::manual(0), 1);
    let mut shard = Shard::new(0, shared.clone(), Poller::new().unwrap());
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        let admission = Admission {
            wire: Wire::WebSocket,
            ..Admission::of_test_stream()
        };
        let seat = shard.admit(admission).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        let detached = Detached::new(server.into(), None, false);
        shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
        clients.push(client);
    }
    // A third has left, and a third waits for its client's answer to the end. Neither takes a share.
    for key in (0..STREAMS).step_by(3) {
        Connection::new(&mut shard.connections, key).close(DisconnectReason::ClientClosed);
        Connection::new(&mut shard.connections, key + 1).end(End::Disconnected, None);
    }
    let disconnects = &shared.metrics.shards[0].disconnects;
    let drained = || disconnects.at(DisconnectReason::Drained as usize).value();
    let mut drain = Drain::begin(&mut shard.connections, 320, 1_000);
    let mut at = |now_ms| {
        drain.run(&mut shard.connections, now_ms);
        (drained(), drain.due_ms(&shard.connections))
    };
    // One stream, and the first tick's share: 320 streams per second are ten per tick, rounded down.
    assert_eq!(at(1_000), (10, Some(1_032)));
    assert_eq!(at(1_000), (10, Some(1_032)));
    assert_eq!(at(1_010), (14, Some(1_032)));
    assert_eq!(at(1_032), (20, None));
}
