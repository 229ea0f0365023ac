use std::collections::HashSet;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Waker};

use crate::clock::Clock;
use crate::event::{EventName, Target};
use crate::hub::log::Record;
use crate::metrics::DisconnectReason;
use crate::shard::model::shared;
use crate::shard::poller::Poller;
use crate::shard::{Admission, Detached, Shard};

/// Connects a client of this user.
fn join(shard: &mut Shard, user: &str) -> UnixStream {
    let seat = shard.admit(Admission::of_user(user)).unwrap();
    let (client, server) = UnixStream::pair().unwrap();
    let detached = Detached::new(server.into(), None, false);
    shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
    client
}

#[tokio::test]
async fn no_stream_gets_an_event_after_those_that_it_has_missed() {
    const STREAMS: u64 = 8;
    let shared = shared(Clock::manual(1_700_000_000_000), 1);
    let mut shard = Shard::new(0, shared.clone(), Poller::new().unwrap());
    let users = (0..STREAMS).map(|user| user.to_string());
    let clients: Vec<UnixStream> = users.map(|user| join(&mut shard, &user)).collect();
    let later = Record::Event {
        to: Target::All,
        name: EventName::default(),
        data: "later".into(),
        is_kept: true,
    };
    let log = shared.hub.log();
    for record in [Record::Resync, later] {
        let id = log.newest_id().next(shared.clock.unix_ms());
        log.append(id, shared.clock.now_ms(), record).unwrap();
    }
    let dispatch = pin!(shared.hub.dispatch());
    let mut context = Context::from_waker(Waker::noop());
    assert!(dispatch.poll(&mut context).is_pending());
    let mut turns = 1;
    while shard.deliver() {
        turns += 1;
    }
    assert!(turns > 1, "the streams end in one turn");
    let disconnects = &shared.metrics.shards[0].disconnects;
    let resynced = disconnects.at(DisconnectReason::Resync as usize).value();
    assert_eq!((shard.len(), resynced), (0, STREAMS));
    // Closes the connections, which would go back to HTTP.
    drop(shard);
    let mut delays = HashSet::new();
    for mut client in clients {
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert!(!received.contains("later"), "{received}");
        let (_, last) = received.rsplit_once("retry: ").unwrap();
        delays.insert(last.lines().next().unwrap().to_owned());
    }
    // They come back at different times.
    assert!(delays.len() > 1, "{delays:?}");
}
