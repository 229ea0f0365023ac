//! What clients send during a stream.

use std::time::Duration;

use super::scene::{DATA, Scene};
use crate::metrics::DisconnectReason;
use crate::shard::model::frames::{CLOSE, PING, PONG, TEXT, close, frame, masked};
use crate::wire::Wire;
use crate::wire::websocket::MAX_UNTAKEN_BYTES;

const MINUTE: Duration = Duration::from_secs(60);
/// Time until the next heartbeat, which is at most a second late.
const HEARTBEAT: Duration = Duration::from_secs(31);
const CONTINUATION: u8 = 0;
const LAST: u8 = 0x80;
const FIRST_TEXT: u8 = 1;
const MASKED: u8 = 0x80;
const EIGHT_BYTES: u8 = 127;
const MAX_HEADER_BYTES: usize = 2 + 8 + 4;

#[test]
fn frames_that_arrive_byte_by_byte_are_waited_for() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(is_tls);
        // With TLS, each byte is a record.
        let sent = [frame(PING, "marco"), frame(TEXT, "ignored"), close(1000)];
        for byte in sent.concat() {
            assert!(scene.is_held(n));
            assert!(!scene.slot(n).unwrap().stream.is_ended());
            scene.send(n, [byte]);
        }
        assert_eq!(scene.said(n), ["pong marco", "close 1000"]);
        scene.hang_up(n);
        scene.take_turns();
        scene.assert_closed(n);
        assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 1);
    }
}

#[test]
fn a_slow_frame_takes_a_few_bytes_and_only_while_it_lasts() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(is_tls);
        let longest = "p".repeat(125);
        let ping = frame(PING, &longest);
        for part in ping.chunks(5) {
            let slot = scene.slot(n).unwrap();
            assert!(slot.carrier.torn_bytes() <= Some(MAX_UNTAKEN_BYTES));
            // Without TLS, it waits in the kernel.
            assert!(is_tls || slot.is_bare());
            scene.send(n, part);
        }
        assert_eq!(scene.said(n), [format!("pong {longest}")]);
        assert_eq!(scene.slot(n).unwrap().carrier.torn_bytes(), None);
        // The reader takes the available part of a message.
        for part in frame(TEXT, "some text").chunks(4) {
            scene.send(n, part);
            // Only the beginning of a header is kept.
            assert!(scene.slot(n).unwrap().carrier.torn_bytes() < Some(MAX_HEADER_BYTES));
        }
        let slot = scene.slot(n).unwrap();
        assert_eq!(slot.carrier.torn_bytes(), Some(0), "it counts its messages");
        scene.pass(MINUTE + HEARTBEAT);
        let slot = scene.slot(n).unwrap();
        assert_eq!(slot.carrier.torn_bytes(), None);
        assert_eq!(slot.is_bare(), !is_tls);
    }
}

#[test]
fn a_message_is_forgotten_after_a_minute_whatever_else_the_client_receives() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    scene.send(n, frame(TEXT, "subscribe"));
    for _ in 0..10 {
        scene.pass(MINUTE / 6);
        scene.publish("often enough for no heartbeat");
    }
    assert!(scene.slot(n).unwrap().is_bare());
    assert!(scene.said(n).iter().all(|it| it.starts_with("message")));
}

#[test]
fn each_frame_has_a_mask_of_its_own() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join(is_tls);
        let euro = "€".as_bytes();
        let masks = [[0; 4], [0xff; 4], [1, 2, 3, 4], [0xe2, 0x82, 0xac, 0]];
        let mut sent = masked(FIRST_TEXT, masks[0], &euro[..1]);
        sent.extend(masked(PING, masks[3], euro));
        sent.extend(masked(CONTINUATION, masks[1], &euro[1..2]));
        sent.extend(masked(CONTINUATION | LAST, masks[2], &euro[2..]));
        // Half of a frame, and the rest with the next one.
        let (start, end) = sent.split_at(sent.len() / 2);
        scene.send(n, start);
        scene.send(n, end);
        assert_eq!(scene.said(n), ["pong €"]);
        for (number, mask) in masks.into_iter().cycle().take(40).enumerate() {
            scene.write(n, masked(PING, mask, number.to_string().as_bytes()));
        }
        scene.take_turns();
        assert_eq!(scene.said(n).last().unwrap(), "pong 39");
    }
}

#[test]
fn what_no_client_may_send_is_answered_with_its_code() {
    let head = |length: u64| {
        let mut head = vec![TEXT, MASKED | EIGHT_BYTES];
        head.extend(length.to_be_bytes());
        head
    };
    let mut unmasked = frame(TEXT, "");
    unmasked[1] &= !MASKED;
    let half = frame(FIRST_TEXT, [b'x'; 3_000]);
    let too_long = [half.clone(), frame(CONTINUATION, [b'x'; 1_097])].concat();
    let cases: [(&str, Vec<u8>, &str); 13] = [
        ("2^63", head(1 << 63), "close 1002 Protocol error"),
        (
            "2^63 - 1",
            head((1 << 63) - 1),
            "close 1009 Message too long",
        ),
        ("unmasked", unmasked, "close 1002 Protocol error"),
        (
            "reserved",
            frame(TEXT | 0x40, "x"),
            "close 1002 Protocol error",
        ),
        ("opcode", frame(0x83, "x"), "close 1002 Protocol error"),
        (
            "long ping",
            frame(PING, [0; 126]),
            "close 1002 Protocol error",
        ),
        ("part of a ping", frame(9, ""), "close 1002 Protocol error"),
        (
            "nothing begun",
            frame(LAST, "x"),
            "close 1002 Protocol error",
        ),
        ("close code", close(1005), "close 1002 Protocol error"),
        (
            "half a code",
            frame(CLOSE, [3]),
            "close 1002 Protocol error",
        ),
        (
            "long",
            frame(TEXT, [b'x'; 4_097]),
            "close 1009 Message too long",
        ),
        ("long in parts", too_long, "close 1009 Message too long"),
        ("text", frame(TEXT, [0xc0]), "close 1007 Text is not UTF-8"),
    ];
    for (name, bytes, answer) in cases {
        for is_tls in [false, true] {
            let mut scene = Scene::new();
            let n = scene.join(is_tls);
            scene.send(n, &bytes);
            assert_eq!(scene.said(n), [answer], "{name}");
            // Everything after it is ignored.
            scene.send(n, frame(PING, "x"));
            assert_eq!(scene.said(n), [""; 0], "{name}");
            scene.hang_up(n);
            scene.take_turns();
            scene.assert_closed(n);
            assert_eq!(scene.ended_as(DisconnectReason::Protocol), 1);
        }
    }
}

#[test]
fn frames_that_come_with_the_handshake_break_the_protocol() {
    for is_tls in [false, true] {
        let mut scene = Scene::new();
        let n = scene.join_as(Wire::WebSocket, is_tls, true);
        let said = scene.said(n);
        assert_eq!(said, ["open {\"retry\": _}", "close 1002 Protocol error"]);
        scene.hang_up(n);
        scene.take_turns();
        scene.assert_closed(n);
    }
}

#[test]
fn eight_kib_of_messages_per_minute_are_ignored() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    // A quarter of the limit, including the header of eight bytes.
    let quarter = frame(TEXT, [b'x'; 2_040]);
    for _ in 0..4 {
        scene.send(n, &quarter);
    }
    scene.pass(Duration::from_secs(59));
    scene.send(n, frame(PONG, [b'x'; 125]));
    assert!(!scene.slot(n).unwrap().stream.is_ended());
    scene.pass(Duration::from_secs(1));
    for _ in 0..4 {
        scene.send(n, &quarter);
    }
    assert!(!scene.slot(n).unwrap().stream.is_ended());
    scene.said(n);
    // Empty parts of a message count as well.
    scene.send(n, frame(FIRST_TEXT, ""));
    assert_eq!(scene.said(n), ["close 1008 Too many messages"]);
}

#[test]
fn an_answer_is_for_whoever_asked() {
    for other in [Wire::WebSocket, Wire::SseChunked] {
        let mut scene = Scene::new();
        let n = scene.join(true);
        let mut last = scene.clients[n].sealed(&frame(PING, "mine"));
        // An invalid record.
        last.extend([DATA, 3, 3, 0, 17]);
        last.extend([0; 17]);
        let other = scene.join_as(other, false, false);
        scene.clients[other].reads = false;
        scene.take_turns();
        scene.clients[n].opener.as_mut().unwrap().expects_failure = true;
        scene.write_raw(n, &last);
        scene.take_turns();
        assert!(!scene.is_held(n) && scene.said(n).is_empty());
        let before = scene.slot(other).unwrap().carrier.last_write();
        scene.shard.shared().clock.advance(Duration::from_secs(1));
        scene.send(other, frame(PONG, ""));
        // No answer is left over for the next client that sends something.
        assert!(scene.shard.connections.answers.is_empty());
        assert_eq!(scene.slot(other).unwrap().carrier.last_write(), before);
        let mut received = vec![0; 4_096];
        let read = std::io::Read::read(&mut scene.clients[other].socket, &mut received);
        let received = String::from_utf8_lossy(&received[..read.unwrap()]).into_owned();
        assert!(!received.contains("mine"), "{received}");
    }
}

#[test]
fn a_client_that_is_answered_often_receives_its_heartbeats() {
    let mut scene = Scene::new();
    let n = scene.join(false);
    for second in 0..60 {
        scene.send(n, frame(PING, second.to_string()));
        scene.pass(Duration::from_secs(1));
    }
    let said = scene.said(n);
    let heartbeats = said.iter().filter(|it| *it == "heartbeat").count();
    assert!((1..=2).contains(&heartbeats), "{said:?}");
    assert_eq!(said.len(), 60 + 2 * heartbeats);
}
