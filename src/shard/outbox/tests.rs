use std::io::Write as _;
use std::os::unix::net::UnixStream;

use crate::clock::Clock;
use crate::metrics::DisconnectReason;
use crate::shard::connection::{Connection, Gone};
use crate::shard::model::shared;
use crate::shard::poller::Poller;
use crate::shard::{Admission, Detached, Shard};

fn backlog_bytes(shard: &Shard) -> usize {
    let backlog = shard.connections.table.at(0).carrier.backlog();
    backlog.unwrap().bytes()
}

/// Sends so many bytes to the only client.
fn send(shard: &mut Shard, bytes: usize) -> Result<(), Gone> {
    let now = shard.connections.now();
    let bytes = vec![b'x'; bytes];
    let sent = Connection::new(&mut shard.connections, 0).send(now, |outbox, carrier, now| {
        outbox.send_copied(carrier, &bytes, now)
    });
    sent.map(|_| ())
}

#[tokio::test]
async fn a_backlog_may_reach_its_limit_and_not_a_byte_more() {
    let shared = shared(Clock::manual(0), 1);
    let limit = shared.settings.max_backlog_bytes;
    for excess in [1, limit] {
        let mut shard = Shard::new(0, shared.clone(), Poller::new().unwrap());
        let seat = shard.admit(Admission::of_test_stream()).unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        // The socket takes nothing, so all that is sent waits.
        server.set_nonblocking(true).unwrap();
        while (&server).write(&[b'.'; 512]).is_ok() {}
        let detached = Detached::new(server.into(), None, false);
        shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
        let room = limit - backlog_bytes(&shard);
        assert_eq!(send(&mut shard, room), Ok(()));
        assert_eq!(backlog_bytes(&shard), limit);
        assert_eq!(send(&mut shard, excess), Err(Gone));
        assert_eq!(shard.len(), 0);
    }
    let metrics = &shared.metrics.shards[0];
    let disconnects = |reason| metrics.disconnects.at(reason as usize).value();
    assert_eq!(disconnects(DisconnectReason::Slow), 2);
    assert_eq!(metrics.backlog_bytes.value(), 0);
}
