//! Clients that send as much as they can.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use super::scene::Scene;
use crate::metrics::DisconnectReason;
use crate::shard::backlog::Backlog;
use crate::shard::model::frames::{PING, frame};

/// A little before the stall timeout.
const ALMOST_STALLED: Duration = Duration::from_millis(29_800);

#[test]
fn a_million_pings_are_answered_by_few_pongs_while_others_are_served() {
    const PINGS: usize = 1_000_000;
    const AT_ONCE: usize = 5_000;
    let mut scene = Scene::new();
    let n = scene.join(false);
    let other = scene.join(false);
    scene.clients[other].reads = false;
    let last = format!("pong {}", PINGS - 1);
    let mut is_answered = false;
    for start in (0..PINGS).step_by(AT_ONCE) {
        let pings = start..start + AT_ONCE;
        let sent: Vec<u8> = pings.flat_map(|it| frame(PING, it.to_string())).collect();
        let mut rest = sent.as_slice();
        // As fast as the server takes it.
        while !rest.is_empty() || (start + AT_ONCE == PINGS && !is_answered) {
            match scene.clients[n].socket.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            scene.publish("news");
            scene.take_turn();
            let said = scene.said(n);
            let pongs = said.iter().filter(|it| it.starts_with("pong")).count();
            assert!(pongs <= 1, "{pongs} in one turn");
            is_answered |= said.contains(&last);
            assert_eq!(scene.said(other), ["message \"news\""]);
        }
    }
    // Incomplete frames that were kept on the way are gone.
    scene.take_turns();
    assert!(scene.slot(n).unwrap().is_bare());
}

/// Frames of various lengths, so that reads end at any position within a frame.
#[test]
fn a_burst_is_read_to_its_end_wherever_it_is_cut() {
    for payload in 0..12 {
        for is_tls in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            scene.clients[n].socket.set_nonblocking(false).unwrap();
            let ping = frame(PING, [b'x'; 12].split_at(payload).0);
            let mut sent = Vec::new();
            // With TLS, one read contains a record and a part of the next.
            for _ in 0..2 {
                let many = ping.repeat(10_000 / ping.len());
                sent.extend(scene.clients[n].sealed(&many));
            }
            sent.extend(scene.clients[n].sealed(&frame(PING, "last")));
            // A client that reads makes its socket ready again. Waiting input must not depend on that.
            scene.clients[n].reads = false;
            scene.write_raw(n, &sent);
            scene.clients[n].socket.set_nonblocking(true).unwrap();
            for _ in 0..10 {
                scene.take_turns();
            }
            assert!(scene.is_held(n), "{payload} {is_tls}");
            let said = scene.said(n);
            assert_eq!(said.last().unwrap(), "pong last", "{payload} {is_tls}");
        }
    }
}

/// Sends pings until the shard reads no more.
fn fill_with_pings(scene: &mut Scene, n: usize) -> usize {
    scene.clients[n].reads = false;
    let mut sent = 0;
    let mut refused = 0;
    while refused < 10 {
        let ping = frame(PING, format!("{sent:0>120}"));
        let written = scene.clients[n].socket.write(&ping);
        scene.take_turn();
        match written {
            Ok(written) => {
                assert_eq!(written, ping.len());
                refused = 0;
                sent += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
            }
        }
        let slot = scene.slot(n).unwrap();
        let waiting = slot.carrier.backlog().map_or(0, Backlog::bytes);
        assert!(waiting <= 127, "{waiting} bytes wait");
    }
    assert!(scene.slot(n).unwrap().carrier.is_backlogged());
    sent
}

#[test]
fn a_client_that_sends_pings_and_reads_nothing_is_not_read_from_and_closed_as_stalled() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    let other = scene.join(false);
    fill_with_pings(&mut scene, n);
    scene.pass(ALMOST_STALLED);
    assert!(scene.is_held(n));
    scene.pass(Duration::from_millis(400));
    assert!(!scene.is_held(n) && scene.is_held(other));
    assert_eq!(scene.ended_as(DisconnectReason::Stalled), 1);
    scene.publish("still here");
    scene.take_turns();
    assert_eq!(scene.said(other).last().unwrap(), "message \"still here\"");
}

#[test]
fn what_waited_while_a_client_read_nothing_is_read_when_it_reads() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    let sent = fill_with_pings(&mut scene, n);
    scene.clients[n].reads = true;
    for _ in 0..sent {
        scene.take_turns();
    }
    let last = format!("pong {:0>120}", sent - 1);
    assert_eq!(scene.said(n).last(), Some(&last));
    assert!(scene.slot(n).unwrap().is_bare());
}

#[test]
fn a_flood_after_the_end_is_discarded_and_bounded_in_time() {
    for is_deaf in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(false);
        let other = scene.join(false);
        if is_deaf {
            scene.send(n, [0xff, 0xff]);
        } else {
            let id = scene.clients[n].id;
            let connection = scene.shard.connections.find(id).unwrap();
            let _ = connection.end_drained();
        }
        assert_eq!(scene.said(n).len(), 1);
        let flood = frame(PING, "x").repeat(2_000);
        let clock = scene.shard.shared().clock.clone();
        let mut turns = 0;
        while scene.is_held(n) {
            let _ = scene.clients[n].socket.write(&flood);
            scene.take_turn();
            clock.advance(Duration::from_millis(100));
            turns += 1;
            assert!(turns <= 302, "it stays");
        }
        assert!(turns > 295, "{turns}");
        assert!(scene.said(n).is_empty() && scene.is_held(other));
    }
}
