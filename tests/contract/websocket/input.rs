//! What clients send: messages are ignored within limits, and violations close the stream.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::OPEN;
use super::peer::{BINARY, CONTINUATION, FIN, PING, PONG, Peer, TEXT, masked};
use crate::support::TestServer;

/// Sends bytes, and checks that they close the stream with this code.
#[track_caller]
fn fails(server: &TestServer, bytes: &[u8], code: u16) {
    let mut peer = Peer::of(server, "42");
    // The server may close before it has received all of them.
    let _ = peer.socket.write_all(bytes);
    let reason = match code {
        1002 => "Protocol error",
        1007 => "Text is not UTF-8",
        1008 => "Too many messages",
        _ => "Message too long",
    };
    assert_eq!(peer.close_frame(), (code, reason.to_owned()));
    assert_eq!(peer.next(), None);
    drop(peer);
    server.wait_for_metric(OPEN, 0.0);
}

#[test]
fn violations_of_the_protocol_are_1002() {
    let server = TestServer::start().over_sse();
    let unmasked = b"\x81\x01x".to_vec();
    let cases = [
        unmasked,
        masked(FIN | 0x40 | TEXT, b"a reserved bit"),
        masked(FIN | 3, b"a reserved opcode"),
        masked(FIN | 0xb, b"a reserved control frame"),
        masked(PING, b"a fragmented ping"),
        masked(FIN | PING, &[0; 126]),
        masked(FIN | CONTINUATION, b"of nothing"),
        [masked(TEXT, b"a"), masked(FIN | TEXT, b"b")].concat(),
        masked(FIN | super::peer::CLOSE, b"\x03"),
        masked(FIN | super::peer::CLOSE, &1_005_u16.to_be_bytes()),
    ];
    for bytes in &cases {
        fails(&server, bytes, 1002);
    }
    let ended = |reason| {
        server.metric(&format!(
            "idlewild_disconnects_total{{reason=\"{reason}\"}}"
        ))
    };
    let count = u32::try_from(cases.len()).unwrap();
    assert_eq!(ended("protocol"), Some(f64::from(count)));
    assert_eq!(ended("error"), Some(0.0));
    let stats = server.admin("GET", "/v1/stats", "").json();
    assert_eq!(stats["disconnects"]["protocol"], count);
}

#[test]
fn text_that_is_not_utf_8_is_1007() {
    let server = TestServer::start().over_sse();
    fails(&server, &masked(FIN | TEXT, b"\xff"), 1007);
    // A character that is split between two frames and never completed.
    let torn = [masked(TEXT, b"\xe2\x82"), masked(FIN | CONTINUATION, b"x")].concat();
    fails(&server, &torn, 1007);
}

#[test]
fn a_message_over_four_kib_is_1009() {
    let server = TestServer::start().over_sse();
    fails(&server, &masked(FIN | TEXT, &[b'x'; 4_097]), 1009);
    let parts = [
        masked(BINARY, &[0; 4_000]),
        masked(FIN | CONTINUATION, &[0; 97]),
    ]
    .concat();
    fails(&server, &parts, 1009);
    let mut endless = vec![FIN | BINARY, 0x80 | 127];
    endless.extend((1_u64 << 63).to_be_bytes());
    fails(&server, &endless, 1002);
    let mut long = vec![FIN | BINARY, 0x80 | 127];
    long.extend((1_u64 << 62).to_be_bytes());
    fails(&server, &long, 1009);
}

#[test]
fn messages_over_eight_kib_a_minute_are_1008() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    for minute in 0..3 {
        // 8 KiB, including the frames' headers.
        for _ in 0..8 {
            peer.send(FIN | TEXT, &[b'x'; 1_016]);
        }
        peer.send(FIN | PING, b"read");
        while peer.next().unwrap().opcode != PONG {}
        assert_eq!(server.metric(OPEN), Some(1.0), "minute {minute}");
        for _ in 0..3 {
            server.advance(Duration::from_secs(20));
            peer.send(FIN | PONG, b"");
        }
    }
    peer.socket.close();
    server.wait_for_metric(OPEN, 0.0);
    let messages = masked(FIN | TEXT, &[b'x'; 1_000]).repeat(9);
    fails(&server, &messages, 1008);
}

#[test]
fn messages_and_frames_in_pieces_change_nothing() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    let fragments = [
        masked(TEXT, "\u{20ac}".as_bytes().split_at(1).0),
        masked(FIN | PING, b"between"),
        masked(CONTINUATION, b"\x82"),
        masked(FIN | CONTINUATION, b"\xac"),
        masked(FIN | BINARY, &[0; 300]),
        masked(FIN | PING, b"last"),
    ]
    .concat();
    for byte in fragments {
        peer.socket.write_all(&[byte]).unwrap();
        assert_eq!(server.get("/healthz").status, 200);
    }
    for payload in ["between", "last"] {
        let pong = peer.next().unwrap();
        assert_eq!(
            (pong.opcode, pong.payload.as_slice()),
            (PONG, payload.as_bytes())
        );
    }
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    assert_eq!(peer.message()["id"], id);
}

#[test]
fn a_flood_of_pings_is_answered_in_part_and_disturbs_nobody() {
    const PINGS: usize = 200_000;
    let server = TestServer::with(|config| config.shards = 1).over_sse();
    let mut flooder = Peer::of(&server, "42");
    let mut other = Peer::of(&server, "43");
    let pings = masked(FIN | PING, b"").repeat(PINGS / 100);
    let mut writer = flooder.socket.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        for _ in 0..100 {
            writer.write_all(&pings).unwrap();
        }
        writer.write_all(&masked(FIN | PING, b"the last")).unwrap();
    });
    for n in 0..20 {
        let id = server.publish(&json!({"to": {"user": "43"}, "data": n}));
        assert_eq!(other.message()["id"], id);
    }
    let mut pongs = 0;
    while flooder.next().unwrap().payload != b"the last" {
        pongs += 1;
    }
    flood.join().unwrap();
    assert!(pongs < PINGS / 2, "{pongs} pongs");
}
