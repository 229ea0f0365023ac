//! Streams that the client ends, that the server ends, and that both end.

use std::time::Duration;

use super::scene::Scene;
use crate::metrics::DisconnectReason;
use crate::shard::bench::Setup;
use crate::shard::look::look;
use crate::shard::model::frames::{CLOSE, PING, PONG, TEXT, close, frame};
use crate::wire::Wire;

const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(30);
const A_LITTLE: Duration = Duration::from_millis(250);
/// A little before [`STALL_TIMEOUT`].
const ALMOST_STALLED: Duration = Duration::from_millis(29_750);
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];

/// The server ends the stream.
fn end(scene: &mut Scene, n: usize) {
    let id = scene.clients[n].id;
    let connection = scene.shard.connections.find(id).unwrap();
    assert!(connection.end_drained().is_err());
    assert_eq!(scene.said(n), ["close 1001 Going away"]);
}

/// Publishes until the client, which does not read, has a backlog.
fn fill(scene: &mut Scene, n: usize) -> usize {
    scene.clients[n].reads = false;
    let mut sent = 0;
    while !scene.slot(n).unwrap().carrier.is_backlogged() {
        scene.publish(&"x".repeat(500));
        scene.take_turn();
        sent += 1;
    }
    sent
}

#[test]
fn a_code_is_sent_back_without_its_reason() {
    let with_reason = |code: u16| [&code.to_be_bytes(), b"tired".as_slice()].concat();
    let codes = [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999];
    let mut cases: Vec<(Vec<u8>, String)> = codes
        .into_iter()
        .map(|code| (with_reason(code), format!("close {code}")))
        .collect();
    cases.push((Vec::new(), "close".into()));
    for (payload, answer) in cases {
        for is_tls in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            scene.send(n, frame(CLOSE, &payload));
            assert_eq!(scene.said(n), [answer.as_str()]);
            // The server closes first (RFC 6455 §7.1.1).
            assert!(scene.clients[n].is_over && scene.is_held(n));
            scene.hang_up(n);
            scene.take_turns();
            scene.assert_closed(n);
            assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 1);
        }
    }
}

#[test]
fn what_follows_a_close_frame_is_ignored() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(is_tls);
        let sent = [frame(PING, "before"), close(1000), frame(PING, "after")];
        scene.send(n, sent.concat());
        assert_eq!(scene.said(n), ["pong before", "close 1000"]);
        scene.send(n, [0xff; 3_000]);
        scene.send(n, close(1000));
        assert!(scene.said(n).is_empty() && scene.is_held(n));
        scene.hang_up(n);
        scene.take_turns();
        scene.assert_closed(n);
    }
}

#[test]
fn a_close_frame_is_answered_though_the_client_has_closed_its_side() {
    for before in [0, 10, 1_000] {
        for is_tls in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            let pings = frame(PING, "some").repeat(before);
            scene.write(n, [pings, close(1000)].concat());
            if is_tls {
                let notify = scene.clients[n].opener.as_mut().unwrap();
                let notify = notify.secrets.record(ALERT, &CLOSE_NOTIFY);
                scene.write_raw(n, &notify);
            }
            scene.hang_up(n);
            scene.take_turns();
            assert_eq!(scene.said(n).last().unwrap(), "close 1000");
            scene.assert_closed(n);
            assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 1);
        }
    }
}

#[test]
fn a_client_that_closes_its_side_without_a_close_frame_is_closed() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(is_tls);
        // The frame is never completed.
        scene.write(n, &frame(PING, "half")[..4]);
        scene.hang_up(n);
        scene.take_turns();
        assert!(scene.said(n).is_empty());
        scene.assert_closed(n);
        assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 1);
    }
}

#[test]
fn a_close_frame_is_answered_behind_what_its_client_has_not_read() {
    for hangs_up in [false, true] {
        for is_tls in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            let sent = fill(&mut scene, n);
            scene.write(n, close(4000));
            if hangs_up {
                scene.hang_up(n);
            }
            scene.take_turns();
            scene.clients[n].reads = true;
            scene.take_turns();
            let said = scene.said(n);
            assert_eq!(said.len(), sent + 1);
            assert_eq!(said.last().unwrap(), "close 4000");
            if !hangs_up {
                scene.hang_up(n);
                scene.take_turns();
            }
            scene.assert_closed(n);
        }
    }
}

#[test]
fn a_close_frame_ends_a_client_that_is_catching_up() {
    let mut scene = Scene::new();
    let origin = Setup::default().origin.to_string();
    // More than a piece of a replay, and more than a socket takes.
    for _ in 0..50 {
        scene.publish(&"x".repeat(500));
    }
    for is_read in [true, false] {
        let n = scene.join_from(Some(&origin), Wire::WebSocket, false, false);
        scene.clients[n].reads = is_read;
        if !is_read {
            scene.take_turns();
            assert!(scene.slot(n).unwrap().carrier.is_backlogged());
        }
        scene.write(n, close(1000));
        scene.clients[n].reads = true;
        scene.take_turns();
        let said = scene.said(n);
        assert_eq!(said.last().unwrap(), "close 1000");
        assert!((4..50).contains(&said.len()), "{}", said.len());
        scene.hang_up(n);
        scene.take_turns();
        scene.assert_closed(n);
    }
    assert!(scene.shard.connections.catching_up.is_empty());
}

#[test]
fn an_end_of_the_server_is_answered() {
    for is_tls in [false, true] {
        for says_goodbye in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            end(&mut scene, n);
            // The client may have sent this before it received the end.
            scene.send(n, [frame(PING, "x"), frame(TEXT, "x")].concat());
            scene.take_turns();
            assert!(scene.said(n).is_empty() && scene.is_held(n));
            scene.write(n, close(1001));
            if is_tls && says_goodbye {
                let notify = scene.clients[n].opener.as_mut().unwrap();
                let notify = notify.secrets.record(ALERT, &CLOSE_NOTIFY);
                scene.write_raw(n, &notify);
            }
            if says_goodbye {
                scene.hang_up(n);
            }
            scene.take_turns();
            scene.assert_closed(n);
            assert_eq!(scene.ended_as(DisconnectReason::Drained), 1);
            assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 0);
        }
    }
}

#[test]
fn a_client_that_does_not_close_is_closed_after_the_stall_timeout() {
    for is_tls in [false, true] {
        // The client has received the server's end; has closed; has violated the protocol.
        for first in [Vec::new(), close(1000), vec![0xff, 0xff]] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            scene.pass(Duration::from_secs(3));
            if first.is_empty() {
                end(&mut scene, n);
            } else {
                scene.send(n, first);
            }
            scene.pass(ALMOST_STALLED);
            scene.send(n, frame(PONG, ""));
            assert!(scene.is_held(n));
            scene.pass(A_LITTLE + A_LITTLE);
            assert!(!scene.is_held(n));
        }
    }
}

/// The timer that ended it was its only one.
#[test]
fn a_client_whose_token_expires_has_the_same_time_to_close() {
    for closes in [false, true] {
        let mut scene = Scene::new();
        let expires_at_ms = scene.shard.shared().clock.unix_ms() + 20_000;
        scene.expires_at_s = Some(expires_at_ms / 1_000);
        let n = scene.join(false);
        scene.pass(Duration::from_secs(20) + A_LITTLE);
        let said = ["token_expired {}", "close 4001 Token expired"];
        assert_eq!(scene.said(n), said);
        if closes {
            scene.send(n, close(4001));
            scene.assert_closed(n);
        } else {
            scene.pass(Duration::from_millis(29_500));
            assert!(scene.is_held(n));
            scene.pass(A_LITTLE + A_LITTLE);
            assert!(!scene.is_held(n));
        }
    }
}

#[test]
fn an_answer_that_waits_behind_a_backlog_is_read_when_the_client_has_read_its_end() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    let sent = fill(&mut scene, n);
    let id = scene.clients[n].id;
    let connection = scene.shard.connections.find(id).unwrap();
    assert!(connection.end_drained().is_err());
    scene.write(n, close(1000));
    scene.take_turns();
    assert!(scene.is_held(n));
    let before = scene.said(n).len();
    // From now on, the client does not read, because that would make its socket ready again.
    scene.take_turns();
    assert!(!scene.is_held(n));
    let rest = scene.said(n);
    assert_eq!(before + rest.len(), sent + 1);
    assert_eq!(rest.last().unwrap(), "close 1001 Going away");
    scene.assert_closed(n);
}

#[test]
fn a_client_that_reads_nothing_of_its_end_is_closed_after_the_stall_timeout() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    fill(&mut scene, n);
    let id = scene.clients[n].id;
    let connection = scene.shard.connections.find(id).unwrap();
    assert!(connection.end_drained().is_err());
    scene.write(n, close(1000));
    scene.pass(ALMOST_STALLED);
    assert!(scene.is_held(n));
    scene.pass(A_LITTLE + A_LITTLE);
    assert!(!scene.is_held(n));
}

#[test]
fn a_client_with_new_keys_is_sent_back_politely() {
    // Read together with the close frame that the client sends with its new keys, or later.
    for at_once in [false, true] {
        for has_ended in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(true);
            if has_ended {
                end(&mut scene, n);
            }
            let opener = scene.clients[n].opener.as_mut().unwrap();
            let update = opener.secrets.record(HANDSHAKE, &KEY_UPDATE);
            scene.write_raw(n, &update);
            if !at_once {
                scene.take_turns();
            }
            // The server cannot open it.
            let sealed = [23, 3, 3, 0, 30].into_iter().chain([7; 30]);
            scene.write_raw(n, &sealed.collect::<Vec<u8>>());
            scene.take_turns();
            if !has_ended {
                assert_eq!(scene.said(n), ["close 1001 Going away"]);
            }
            assert!(scene.clients[n].is_over, "the end of the server's side");
            assert!(scene.is_held(n), "the client has to close its side");
            scene.hang_up(n);
            scene.take_turns();
            scene.assert_closed(n);
            assert_eq!(scene.ended_as(DisconnectReason::Drained), 1);
        }
    }
}

#[test]
fn a_goodbye_of_tls_without_a_close_frame_is_answered() {
    let mut scene = Scene::new();
    let n = scene.join(true);
    let opener = scene.clients[n].opener.as_mut().unwrap();
    let notify = opener.secrets.record(ALERT, &CLOSE_NOTIFY);
    scene.write_raw(n, &notify);
    scene.take_turns();
    scene.assert_closed(n);
    assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 1);
}

#[test]
fn a_client_that_answers_no_ping_is_closed_after_a_heartbeat_and_the_stall_timeout() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(is_tls);
        scene.clients[n].answers_pings = false;
        scene.pass(HEARTBEAT);
        assert_eq!(scene.said(n), ["ping", "heartbeat"]);
        // Pings and messages do not count as answers.
        scene.pass(Duration::from_secs(20));
        scene.send(n, [frame(PING, ""), frame(TEXT, "x")].concat());
        scene.pass(Duration::from_millis(39_750));
        assert!(scene.is_held(n));
        scene.pass(A_LITTLE);
        scene.assert_closed(n);
        assert_eq!(scene.ended_as(DisconnectReason::Stalled), 1);
    }
}

#[test]
fn an_answer_counts_for_all_pings_before_it() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    scene.clients[n].answers_pings = false;
    // Two pings are unanswered when the pong arrives.
    scene.pass(HEARTBEAT + HEARTBEAT + Duration::from_secs(29));
    scene.send(n, frame(PONG, ""));
    let pings = scene.said(n).iter().filter(|it| *it == "ping").count();
    assert_eq!(pings, 2);
    scene.pass(STALL_TIMEOUT);
    assert!(scene.is_held(n));
    // The next one is due a heartbeat after the second.
    scene.pass(HEARTBEAT + STALL_TIMEOUT);
    assert!(!scene.is_held(n));
}

#[test]
fn a_client_is_not_blamed_for_a_ping_that_waits_behind_a_backlog() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    scene.clients[n].answers_pings = false;
    scene.pass(HEARTBEAT);
    fill(&mut scene, n);
    for _ in 0..20 {
        scene.publish(&"x".repeat(500));
    }
    // The client reads a little at a time, and always has more to read.
    for _ in 0..10 {
        scene.pass(ALMOST_STALLED);
        for _ in scene.said(n) {
            scene.publish(&"x".repeat(500));
        }
        scene.take_turn();
        assert!(scene.slot(n).unwrap().carrier.is_backlogged());
    }
    scene.clients[n].reads = true;
    scene.take_turns();
    scene.pass(HEARTBEAT + ALMOST_STALLED);
    assert!(scene.is_held(n), "a ping has reached it only now");
    scene.pass(A_LITTLE + A_LITTLE);
    assert!(!scene.is_held(n));
}

#[test]
fn a_client_that_has_ended_makes_room() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    let id = scene.clients[n].id;
    assert_eq!(look(&mut scene.shard.connections, &[id], None).len(), 1);
    // Before its socket is polled.
    scene.write(n, close(1000));
    assert!(look(&mut scene.shard.connections, &[id], None).is_empty());
    assert!(scene.is_held(n), "it has to close its side");
    assert!(look(&mut scene.shard.connections, &[id], None).is_empty());
    assert_eq!(scene.said(n), ["close 1000"]);
    scene.hang_up(n);
    scene.take_turns();
    scene.assert_closed(n);
}

#[test]
fn a_client_that_is_found_to_have_closed_is_answered() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    let id = scene.clients[n].id;
    scene.write(n, close(1000));
    scene.hang_up(n);
    assert!(look(&mut scene.shard.connections, &[id], None).is_empty());
    scene.take_turns();
    assert_eq!(scene.said(n), ["close 1000"]);
    scene.assert_closed(n);
}
