//! WebSocket servers that do not read the replies they ask for, until later or at all.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use socket2::SockRef;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::scenarios::run;
use crate::socket::{close_frame, event, ping_frame, text_frame};
use crate::websocket::{listener, open, url};
use crate::{EVENTS, publish};

/// Far more pings than the buffers of [`narrow`] connections hold pongs.
const FLOOD: u32 = 4_000;
/// Between pings. The client answers only the last of several pings that it reads at once.
const APART: Duration = Duration::from_micros(100);
/// Only a failing test waits this long.
const LIMIT: Duration = Duration::from_secs(20);

/// A listener whose connections buffer little: the kernel sizes the client's send buffer by the segments.
fn narrow() -> TcpListener {
    let listener = listener();
    let socket = SockRef::from(&listener);
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.set_tcp_mss(536).unwrap();
    listener
}

/// Sends pings without reading, so that the client's last pongs have to wait. Returns the last payload.
fn flood(client: &mut TcpStream) -> Vec<u8> {
    for n in 0..FLOOD {
        let frame = ping_frame(&[&n.to_be_bytes()[..], &[b'p'; 121]].concat());
        client.write_all(&frame).unwrap();
        std::thread::sleep(APART);
    }
    client.write_all(&ping_frame(b"last")).unwrap();
    b"last".to_vec()
}

/// Reads pongs up to the one with this payload. Anything else fails the test.
fn read_up_to(client: &TcpStream, payload: &[u8]) {
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let mut socket = WebSocket::from_raw_socket(client.try_clone().unwrap(), Role::Server, None);
    loop {
        match socket.read() {
            Ok(Message::Pong(pong)) if pong == payload => return,
            Ok(Message::Pong(_)) => {}
            other => panic!("the load sent {other:?}"),
        }
    }
}

#[test]
fn a_server_that_reads_late_receives_whole_frames_and_the_last_pong() {
    let (public, admin) = (narrow(), listener());
    let (public_url, admin_url) = (url(&public), url(&admin));
    let (sender, published) = channel();
    std::thread::spawn(move || publish(&admin, &sender));
    let served = std::thread::spawn(move || {
        let mut client = open(&public);
        let last = flood(&mut client);
        read_up_to(&client, &last);
        for n in 0..EVENTS {
            let message = event(&n.to_string(), &published.recv().unwrap());
            let frame = text_frame(message.as_bytes(), true, true);
            client.write_all(&frame).unwrap();
        }
        client
    });
    let (code, report, _) = run(&format!(
        "broadcast -n 1 --events {EVENTS} --rate 100 --rounds 1 --threads 1 --transport ws --api-key k \
         --url {public_url} --admin-url {admin_url}"
    ));
    served.join().unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["received"], EVENTS, "{report}");
    assert_eq!(report["pings"], FLOOD + 1, "{report}");
}

#[test]
fn a_new_client_does_not_send_the_replies_of_an_earlier_one() {
    let public = narrow();
    // Two clients connect at once. The third connects 2.5 s later, when the first is gone and its slot is free.
    let line = format!(
        "idle -n 3 --seconds 1 --threads 1 --connect-rate 0.4 --transport ws --url {}",
        url(&public)
    );
    let served = std::thread::spawn(move || {
        let (mut first, second) = (open(&public), open(&public));
        flood(&mut first);
        // The client is gone once it has read this, and its replies are still waiting.
        first.write_all(&close_frame(b"")).unwrap();
        let mut third = open(&public);
        third.write_all(&ping_frame(b"third")).unwrap();
        read_up_to(&third, b"third");
        (first, second, third)
    });
    let (code, report, _) = run(&line);
    served.join().unwrap();
    assert_eq!((code, &report["lost"]), (Some(1), &1.into()), "{report}");
}
