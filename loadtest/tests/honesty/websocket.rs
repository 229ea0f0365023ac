//! The load over WebSocket, with servers that split their bytes in unusual ways, reject, close, and break the
//! protocol.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tungstenite::Message;

use crate::hub::read_head;
use crate::scenarios::run;
use crate::socket::{OPEN, accept, close_frame, event, hear, ping_frame, switching, text_frame};
use crate::terminator::accept_tls;
use crate::{CLIENTS, EVENTS, load, publish};

/// Sends a client its events.
type Write = fn(&mut TcpStream, &[String]);

/// Pings between two events of a flood.
const FLOOD: u32 = 20_000;

/// Runs a broadcast; `write` sends all events to each client, one client after another. Returns the exit code, the
/// report, and the pongs of each client.
fn broadcast_in_pieces(write: Write) -> (Option<i32>, Value, Vec<Vec<Vec<u8>>>) {
    let (public, admin) = (listener(), listener());
    let (public_url, admin_url) = (url(&public), url(&admin));
    let (sender, published) = channel();
    std::thread::spawn(move || publish(&admin, &sender));
    let served = std::thread::spawn(move || {
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| open(&public)).collect();
        let messages: Vec<String> = (0..EVENTS)
            .map(|n| event(&n.to_string(), &published.recv().unwrap()))
            .collect();
        let hearing: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let reading = client.try_clone().unwrap();
                let hearing = std::thread::spawn(move || hear(reading).0);
                write(&mut client, &messages);
                hearing
            })
            .collect();
        hearing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (code, report, _) = run(&format!(
        "broadcast -n {CLIENTS} --events {EVENTS} --rate 100 --rounds 1 --threads 1 --transport ws --api-key k \
         --url {public_url} --admin-url {admin_url}"
    ));
    (code, report, served.join().unwrap())
}

pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

pub(crate) fn url(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

/// Accepts the next client and begins its stream.
pub(crate) fn open(listener: &TcpListener) -> TcpStream {
    let (mut client, _) = listener.accept().unwrap();
    let request = read_head(&mut client);
    client.set_nodelay(true).unwrap();
    drop(accept(client.try_clone().unwrap(), &request));
    client
}

#[test]
fn events_are_read_however_their_bytes_are_split() {
    let ways: [(&str, Write); 4] = [
        ("coalesced", |client, messages| {
            let frames = messages
                .iter()
                .map(|text| text_frame(text.as_bytes(), true, true));
            client
                .write_all(&frames.collect::<Vec<_>>().concat())
                .unwrap();
            client.write_all(&ping_frame(b"last")).unwrap();
        }),
        ("fragmented, with pings between", |client, messages| {
            for text in messages {
                let (start, rest) = text.as_bytes().split_at(7);
                let (middle, end) = rest.split_at(rest.len() / 2);
                let frames = [
                    text_frame(start, true, false),
                    ping_frame(b"within"),
                    text_frame(b"", false, false),
                    text_frame(middle, false, false),
                    ping_frame(b"last"),
                    text_frame(end, false, true),
                ];
                for frame in frames {
                    client.write_all(&frame).unwrap();
                }
            }
        }),
        ("byte by byte", |client, messages| {
            for text in messages {
                for byte in text_frame(text.as_bytes(), true, true) {
                    client.write_all(&[byte]).unwrap();
                }
            }
            for byte in ping_frame(b"last") {
                client.write_all(&[byte]).unwrap();
            }
        }),
        ("in a flood of pings", |client, messages| {
            for text in messages {
                let flood = ping_frame(&[b'p'; 125]).repeat(FLOOD as usize);
                client.write_all(&flood).unwrap();
                client
                    .write_all(&text_frame(text.as_bytes(), true, true))
                    .unwrap();
            }
            client.write_all(&ping_frame(b"last")).unwrap();
        }),
    ];
    each(ways, |(way, write)| {
        let (code, report, pongs) = broadcast_in_pieces(write);
        assert_eq!(code, Some(0), "{way}: {report}");
        assert_eq!(report["received"], CLIENTS * EVENTS, "{way}");
        assert!(report["pings"].as_u64().unwrap() >= CLIENTS as u64, "{way}");
        for pongs in pongs {
            assert_eq!(pongs.last().map(Vec::as_slice), Some(&b"last"[..]), "{way}");
            let asked =
                |pong: &Vec<u8>| [&b"last"[..], b"within", &[b'p'; 125]].contains(&pong.as_slice());
            assert!(pongs.iter().all(asked), "{way}");
        }
    });
}

/// Runs `idle` with three clients that `serve` handles. The run must fail. Returns the report, and the result of each
/// `serve`.
fn idle_with<T: Send + 'static>(
    serve: impl Fn(TcpStream, String) -> T + Send + 'static,
) -> (Value, Vec<T>) {
    let public = listener();
    let line = format!(
        "idle -n 3 --seconds 1 --threads 1 --transport ws --url {}",
        url(&public)
    );
    let served = std::thread::spawn(move || {
        let one = |_| {
            let (mut client, _) = public.accept().unwrap();
            let request = read_head(&mut client);
            serve(client, request)
        };
        (0..3).map(one).collect()
    });
    let (code, report, _) = run(&line);
    assert_eq!(code, Some(1), "{report}");
    (report, served.join().unwrap())
}

/// Runs `act` with all cases at the same time.
fn each<C: Send>(cases: impl IntoIterator<Item = C>, act: impl Fn(C) + Sync) {
    std::thread::scope(|scope| {
        let act = &act;
        for case in cases {
            scope.spawn(move || act(case));
        }
    });
}

/// Asserts that all three clients failed, or were lost, for the same reason.
fn all_for(report: &Value, kind: &str, reason: &str) {
    assert_eq!(report["failures"], serde_json::json!({ reason: 3 }));
    let other = if kind == "lost" { "failed" } else { "lost" };
    assert_eq!(
        (&report[kind], &report[other]),
        (&3.into(), &0.into()),
        "{reason}"
    );
}

#[test]
fn a_rejection_after_the_handshake_is_a_failed_connection_with_its_code() {
    let refusals = [
        (
            &b"\x0f\xa1Authentication required"[..],
            "4001: Authentication required",
        ),
        (
            b"\x0f\xbdToo many connections",
            "4029: Too many connections",
        ),
        (b"\x03\xf5", "1013"),
    ];
    each(refusals, |(payload, reason)| {
        let (report, codes) = idle_with(move |mut client, request| {
            client.write_all(switching(&request).as_bytes()).unwrap();
            client.write_all(&close_frame(payload)).unwrap();
            hear(client).1
        });
        all_for(
            &report,
            "failed",
            &format!("closed by the server with {reason}"),
        );
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        assert_eq!(
            codes,
            [Some(code); 3],
            "the load answers with the same code"
        );
    });
}

#[test]
fn a_drained_stream_is_lost_and_the_close_is_answered() {
    let (report, codes) = idle_with(|client, request| {
        let mut socket = accept(client, &request);
        let frame = tungstenite::protocol::CloseFrame {
            code: 1001.into(),
            reason: "Shutting down".into(),
        };
        socket.close(Some(frame)).unwrap();
        hear(socket.get_ref().try_clone().unwrap()).1
    });
    all_for(
        &report,
        "lost",
        "closed by the server with 1001: Shutting down",
    );
    assert_eq!(codes, [Some(1001); 3]);
}

#[test]
fn a_close_without_a_reason_or_a_close_frame_is_a_lost_stream() {
    let (report, _) = idle_with(|mut client, request| {
        client.write_all(switching(&request).as_bytes()).unwrap();
        client
            .write_all(&text_frame(OPEN.as_bytes(), true, true))
            .unwrap();
        client.write_all(&close_frame(b"")).unwrap();
        hear(client)
    });
    all_for(&report, "lost", "closed by the server without a code");
    let (report, _) = idle_with(|client, request| drop(accept(client, &request)));
    all_for(&report, "lost", "ended without a close frame");
}

#[test]
fn an_invalid_handshake_is_reported() {
    type Answer = fn(&str) -> String;
    let answers: [(Answer, &str); 4] = [
        (
            |_| "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "status 403",
        ),
        (
            |_| "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned(),
            "status 200",
        ),
        (
            |request| switching(&request.replace("Key: ", "Key: x")),
            "101, but a wrong or missing Sec-WebSocket-Accept",
        ),
        (
            |request| {
                let extension = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
                switching(request).replace("\r\n\r\n", extension)
            },
            "101, but an extension or protocol that was not offered",
        ),
    ];
    each(answers, |(answer, reason)| {
        let (report, _) = idle_with(move |mut client, request| {
            client.write_all(answer(&request).as_bytes()).unwrap();
            hear(client)
        });
        all_for(&report, "failed", reason);
    });
}

#[test]
fn a_server_that_violates_the_protocol_loses_its_clients_and_receives_the_reason() {
    let mut masked = text_frame(b"{}", true, true);
    masked[1] |= 0x80;
    let mut reserved = text_frame(b"{}", true, true);
    reserved[0] |= 0x40;
    let cases = [
        (masked, "websocket: a masked frame", 1002),
        (
            reserved,
            "websocket: a reserved bit without an extension",
            1002,
        ),
        (
            vec![0x09, 0],
            "websocket: a control frame that is fragmented or too long",
            1002,
        ),
        (
            text_frame(b"\xff", true, true),
            "websocket: text that is not UTF-8",
            1007,
        ),
        (
            vec![0x81, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0],
            "websocket: a message over the client's limit",
            1009,
        ),
        (
            close_frame(&[3, 0xed]),
            "websocket: a close frame without a valid code",
            1002,
        ),
    ];
    each(cases, |(frame, reason, code)| {
        let (report, codes) = idle_with(move |client, request| {
            let mut socket = accept(client, &request);
            socket.get_mut().write_all(&frame).unwrap();
            hear(socket.get_ref().try_clone().unwrap()).1
        });
        all_for(&report, "lost", reason);
        assert_eq!(codes, [Some(code); 3], "{reason}");
    });
}

#[test]
fn a_message_that_is_not_an_event_and_a_stream_without_open_are_rejected() {
    let (report, _) = idle_with(|client, request| {
        let mut socket = accept(client, &request);
        socket.send(Message::text("id: 1")).unwrap();
        hear(socket.get_ref().try_clone().unwrap())
    });
    let reason = r#"a message that is not {"id", "event", "data"}"#;
    all_for(&report, "lost", reason);
    let (report, _) = idle_with(|mut client, request| {
        let first = event("1", "1");
        client.write_all(switching(&request).as_bytes()).unwrap();
        client
            .write_all(&text_frame(first.as_bytes(), true, true))
            .unwrap();
        hear(client)
    });
    all_for(&report, "failed", "a first message that is not `open`");
}

#[test]
fn pings_are_answered_and_heartbeats_counted_with_tls_and_without() {
    /// Sends pings, each after the pong of the one before. Returns the payloads of the pongs.
    fn ping<S: io::Read + io::Write>(stream: S, request: &str) -> Vec<Vec<u8>> {
        let heartbeat = r#"{"id":"0-0","event":"heartbeat","data":{}}"#;
        let mut socket = accept(stream, request);
        let mut pongs = Vec::new();
        for n in 0..5u8 {
            // The last ones are larger than a TLS record.
            let padding = " ".repeat(usize::from(n) * 5_000);
            socket.send(Message::Ping(vec![n; 100].into())).unwrap();
            socket
                .send(Message::text(format!("{heartbeat}{padding}")))
                .unwrap();
            match socket.read().unwrap() {
                Message::Pong(payload) => pongs.push(payload.to_vec()),
                other => panic!("the load sent {other:?}"),
            }
        }
        let _ = socket.read(); // until the load closes it
        pongs
    }
    each([false, true], |tls| {
        let public = listener();
        let scheme = if tls { "https" } else { "http" };
        let url = url(&public).replacen("http", scheme, 1);
        let serve = move |mut client: TcpStream| {
            if tls {
                let mut client = accept_tls(client);
                let request = read_head(&mut client);
                return ping(client, &request);
            }
            let request = read_head(&mut client);
            ping(client, &request)
        };
        let served = std::thread::spawn(move || {
            let clients = [(); 2].map(|()| public.accept().unwrap().0);
            clients.map(|client| std::thread::spawn(move || serve(client)))
        });
        let (code, report, _) = run(&format!(
            "idle -n 2 --seconds 1 --threads 2 --transport ws --url {url}"
        ));
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(report["pings"], 10);
        let pongs: Vec<Vec<u8>> = (0..5).map(|n| vec![n; 100]).collect();
        for client in served.join().unwrap() {
            assert_eq!(client.join().unwrap(), pongs);
        }
    });
}

#[test]
fn every_scenario_runs_over_websocket_with_tls_and_without() {
    let scenarios = [
        ("hold -n 40 --rest 200ms", None),
        ("idle -n 20 --seconds 1", None),
        (
            "broadcast -n 20 --events 5 --rate 100 --rounds 2",
            Some(200),
        ),
        ("unicast -n 20 --events 50 --rate 500 --rounds 1", Some(50)),
        (
            "mixed -n 20 --seconds 1 --broadcast-rate 5 --unicast-rate 20",
            Some(120),
        ),
        ("storm -n 20 --events 5 --rate 100", Some(200)),
        ("slow 20% -n 20 --events 5 --rate 100", Some(180)),
        ("churn -n 20 --rate 50 --seconds 1", None),
    ];
    std::thread::scope(|scope| {
        for (line, received) in scenarios {
            for tls in ["", " --tls"] {
                scope.spawn(move || {
                    let line = format!("{line} --floor --transport ws --threads 2{tls}");
                    let (code, report, _) = run(&line);
                    assert_eq!(code, Some(0), "{line}: {report}");
                    assert_eq!(report["received"].as_u64(), received, "{line}");
                    assert_eq!(report["transport"], "ws", "{line}");
                });
            }
        }
    });
}

#[test]
fn the_floor_sends_pings_and_heartbeats_if_the_server_does() {
    let public = listener();
    let line = format!(
        "idle -n 2 --seconds 2 --threads 1 --vs-floor --transport ws --url {}",
        url(&public)
    );
    let (go, begin): (_, Receiver<()>) = channel();
    std::thread::spawn(move || {
        let clients = [open(&public), open(&public)];
        drop(go);
        // Only heartbeats after the ramp are measured, so they go on until the load closes the connections.
        let heartbeat = text_frame(br#"{"id":"0-0","event":"heartbeat","data":{}}"#, true, true);
        let both = [ping_frame(b""), heartbeat].concat();
        while clients
            .iter()
            .all(|mut client| client.write_all(&both).is_ok())
        {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let (code, report, _) = run(&line);
    assert!(begin.recv().is_err());
    assert_eq!(code, Some(0), "{report}");
    for side in [&report, &report["floor"]] {
        assert!(side["heartbeats"].as_u64().unwrap() > 0, "{report}");
        assert!(
            side["pings"].as_u64() >= side["heartbeats"].as_u64(),
            "{report}"
        );
    }
}

#[test]
fn a_template_must_have_the_chosen_transport() {
    for (line, reason) in [
        (
            "peer nchan idle -n 1 --transport ws --url http://127.0.0.1:1",
            "nchan has no [websocket]",
        ),
        (
            "peer ws idle -n 1 --transport sse --url http://127.0.0.1:1",
            "ws has no [subscribe]",
        ),
        (
            "peer nchan idle -n 1 --transport ws --floor",
            "nchan has no [websocket]",
        ),
    ] {
        let output = load(line.split(' '));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(said.contains(reason), "{said}");
    }
}
