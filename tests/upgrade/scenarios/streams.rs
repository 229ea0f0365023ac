//! What clients see of an upgrade: nothing.

use std::fs;
use std::time::Duration;

use idlewild::clock::Clock;

use crate::clients::{
    BegunRequest, Publisher, TRANSPORTS, address, connect_narrow, next_data, open, token, token_for,
};
use crate::server::{Server, is_running};
use crate::support::{NOTIFICATIONS, Stream, eventually, varied_text};

#[test]
fn streams_of_every_transport_go_on_and_receive_each_event_once_and_in_order() {
    const STREAMS_EACH: usize = 6;
    // Nobody reads while the publisher publishes.
    let mut server = Server::start("max_backlog_bytes = \"64MiB\"\n");
    let users: Vec<String> = (0..TRANSPORTS.len()).map(|user| user.to_string()).collect();
    let mut streams = Vec::new();
    for (user, transport) in users.iter().zip(TRANSPORTS) {
        for stream in 0..STREAMS_EACH {
            let user = if stream < 4 {
                user.clone()
            } else {
                format!("{user}-{stream}")
            };
            let address = address(server.addresses, transport);
            streams.push((user.clone(), open(address, &token(&user, None, &[]), "")));
        }
    }
    let publisher = Publisher::start(server.admin, users.clone());
    for _ in 0..3 {
        server.upgrade();
    }
    let sent = publisher.finish();
    server.publish(r#"{"to":{"all":true},"data":"last"}"#);
    for (user, stream) in &mut streams {
        let number = users.iter().position(|one| one == user);
        for event in 0..number.map_or(0, |number| sent[number]) {
            assert_eq!(next_data(stream), event.to_string(), "user {user}");
        }
        assert_eq!(next_data(stream), "last", "user {user}");
    }
    for user in users {
        assert_eq!(server.connections(&user), 4);
    }
    // A compressed stream ends with a checksum of what all processes have sent.
    for (user, stream) in &mut streams {
        let path = format!("/v1/users/{user}/logout");
        assert_eq!(server.admin("POST", &path, "").status, 200);
        let rest = stream.rest();
        assert!(
            rest.iter().any(|frame| frame.contains("FORCE_LOGOUT")),
            "{rest:?}"
        );
    }
}

#[test]
fn an_upgrade_refuses_no_connect() {
    let mut server = Server::start("");
    let address = address(server.addresses, "sse");
    let admin = server.admin;
    let connecting = std::thread::spawn(move || {
        let mut streams = Vec::new();
        for user in 0..400 {
            let token = token(&user.to_string(), None, &[]);
            streams.push(open(address, &token, ""));
            let mut admin = crate::common::admin::Admin::new(admin, crate::support::API_KEY);
            let answer = admin.request("GET", "/v1/users/1", "").unwrap();
            assert_eq!(answer.status, 200);
        }
        streams
    });
    for _ in 0..3 {
        server.upgrade();
    }
    let mut streams = connecting.join().unwrap();
    server.publish(r#"{"to":{"all":true},"data":"last"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "last");
    }
}

#[test]
fn a_stream_that_begins_in_the_first_of_several_processes_reaches_the_last() {
    let mut server = Server::start("");
    let address = address(server.addresses, "sse");
    let first = server.pid();
    let mut processes = vec![first];
    let begun: Vec<_> = (0..3)
        .map(|_| BegunRequest::send(server.addresses, "1"))
        .collect();
    for _ in 0..2 {
        server.begin_upgrade();
        let new = server.wait_for_successor();
        server.follow(new);
        processes.push(new);
    }
    // Time for a process that would not wait for the one before it.
    for user in 10..30 {
        drop(open(address, &token(&user.to_string(), None, &[]), ""));
    }
    assert!(processes.iter().copied().all(is_running));
    let mut streams: Vec<_> = begun.into_iter().map(BegunRequest::complete).collect();
    eventually("the last process has them", || server.connections("1") == 3);
    server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
    for stream in &mut streams {
        stream.begin();
        assert_eq!(next_data(stream), "after");
    }
    for ended in &processes[..2] {
        server.wait_for_end(*ended);
    }
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "last");
    }
}

#[test]
fn a_slow_client_gets_what_waited_for_it() {
    const EVENTS: usize = 40;
    let mut server = Server::start(
        "max_backlog_bytes = \"16MiB\"\nsend_buffer = \"8KiB\"\nmax_connections_per_user = 6\n",
    );
    let mut streams: Vec<_> = TRANSPORTS
        .iter()
        .map(|transport| {
            let address = address(server.addresses, transport);
            let client = connect_narrow(address);
            let token = token("slow", None, &[]);
            client.open(&format!("{NOTIFICATIONS}?token={token}"))
        })
        .collect();
    let text = |number: usize| format!("{number} {}", varied_text(20_000));
    for number in 0..EVENTS {
        if number == EVENTS / 2 {
            server.upgrade();
        }
        let data = text(number);
        server.publish(&format!(r#"{{"to":{{"user":"slow"}},"data":"{data}"}}"#));
    }
    for stream in &mut streams {
        stream.begin();
        for number in 0..EVENTS {
            assert_eq!(next_data(stream), text(number));
        }
    }
}

#[test]
fn a_client_that_catches_up_gets_the_rest_of_its_replay() {
    for transport in ["sse", "gzip"] {
        catch_up_over(transport);
    }
}

fn catch_up_over(transport: &str) {
    const EVENTS: usize = 400;
    let mut server = Server::start("send_buffer = \"8KiB\"\n");
    let address = address(server.addresses, transport);
    let token = token("1", None, &["news"]);
    let mut first = open(address, &token, "&topics=news");
    server.publish(r#"{"to":{"user":"1"},"data":"first"}"#);
    let frame = first.next().unwrap();
    let id = frame
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    first.close();
    let text = |number: usize| format!("{number} {}", varied_text(4_000));
    for number in 0..EVENTS {
        let to = if number % 2 == 0 {
            r#"{"user":"1"}"#
        } else {
            r#"{"topic":"news"}"#
        };
        server.publish(&format!(r#"{{"to":{to},"data":"{}"}}"#, text(number)));
    }
    let mut client = connect_narrow(address);
    let path = format!("{NOTIFICATIONS}?token={token}&topics=news");
    client.get(&path, &format!("Last-Event-ID: {id}\r\n"));
    let mut stream = client.stream();
    for _ in 0..2 {
        server.upgrade();
    }
    server.publish(r#"{"to":{"topic":"news"},"data":"last"}"#);
    stream.begin();
    for number in 0..EVENTS {
        assert_eq!(next_data(&mut stream), text(number));
    }
    assert_eq!(next_data(&mut stream), "last");
}

#[test]
fn a_process_that_offers_no_compression_continues_compressed_streams() {
    let mut server = Server::start("");
    let address = address(server.addresses, "gzip");
    let mut stream = open(address, &token("1", None, &[]), "");
    assert_eq!(stream.header("content-encoding"), Some("gzip"));
    let file = server.config_file();
    let config = fs::read_to_string(&file).unwrap();
    let changed = config.replace(
        "[compression]\nenabled = true",
        "[compression]\nenabled = false",
    );
    assert_ne!(config, changed);
    fs::write(&file, changed).unwrap();
    server.upgrade();
    let plain = open(address, &token("2", None, &[]), "");
    assert_eq!(plain.header("content-encoding"), None);
    let data = "x".repeat(5_000);
    server.publish(&format!(r#"{{"to":{{"all":true}},"data":"{data}"}}"#));
    assert_eq!(next_data(&mut stream), data);
    assert_eq!(server.admin("POST", "/v1/users/1/logout", "").status, 200);
    assert!(stream.rest()[0].contains("FORCE_LOGOUT"));
}

/// Streams over all transports, each of a user of its own, whose tokens are valid for so long.
fn streams_for(server: &Server, ttl: Duration) -> Vec<Stream> {
    let open = |transport| {
        let address = address(server.addresses, transport);
        open(address, &token_for(ttl, transport, None, &[]), "")
    };
    TRANSPORTS.into_iter().map(open).collect()
}

#[test]
fn heartbeats_come_as_if_there_were_no_upgrades() {
    const INTERVAL_MS: u64 = 2_000;
    const MOST_UPGRADES: usize = 60;
    let mut server = Server::start("heartbeat = \"2s\"\n");
    let clock = Clock::system();
    let begun_ms = clock.now_ms();
    let mut streams = streams_for(&server, Duration::from_secs(3_600));
    // In a process that counted from its own beginning, none would come while upgrades follow one another.
    let mut upgrades = 0;
    while streams.iter_mut().any(Stream::is_silent) {
        assert!(upgrades < MOST_UPGRADES, "no heartbeat");
        server.upgrade();
        upgrades += 1;
    }
    // They may come early by a quarter.
    assert!(clock.now_ms() - begun_ms >= INTERVAL_MS * 3 / 4);
    for stream in &mut streams {
        assert!(stream.next().unwrap().contains("event: heartbeat\n"));
    }
}

#[test]
fn streams_end_when_their_token_expires_even_after_an_upgrade() {
    const TTL_S: u64 = 4;
    let mut server = Server::start("");
    let clock = Clock::system();
    let ends_at_s = clock.unix_ms() / 1_000 + TTL_S;
    let mut streams = streams_for(&server, Duration::from_secs(TTL_S));
    server.upgrade();
    for stream in &mut streams {
        let rest = stream.rest();
        assert!(rest.concat().contains("token_expired"), "{rest:?}");
        assert!(clock.unix_ms() / 1_000 >= ends_at_s);
    }
}
