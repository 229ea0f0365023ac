//! Limits that have changed between the two processes: those that fit what is there apply, others are declined.

use rustix::process::{Signal, kill_process};

use crate::clients::{BegunRequest, TRANSPORTS, address, connect_narrow, next_data, open, token};
use crate::server::Server;
use crate::support::{Client, NOTIFICATIONS, Stream, eventually};

fn streams_of_one_user(server: &Server, count: usize) -> Vec<Stream> {
    let address = address(server.addresses, "sse");
    let token = token("1", None, &[]);
    (0..count).map(|_| open(address, &token, "")).collect()
}

#[test]
fn a_limit_below_the_number_of_streams_is_declined_by_name() {
    let mut server = Server::start("max_connections = 100\n");
    let mut streams = streams_of_one_user(&server, 3);
    server.reconfigure("max_connections = 100", "max_connections = 2");
    server.begin_upgrade();
    eventually("the upgrade is declined", || {
        server.log().contains("not upgraded")
    });
    let log = server.log();
    let line = log.lines().find(|line| line.contains("not upgraded"));
    let reason = "max_connections (2) is below the 3 streams of the old process";
    assert!(line.unwrap().contains(reason), "{log}");
    server.failed = 1;
    server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "after");
    }
    server.reconfigure("max_connections = 2", "max_connections = 3");
    server.upgrade();
    let client = Client::connect(address(server.addresses, "sse"));
    let refused = client.open(&format!("{NOTIFICATIONS}?token={}", token("2", None, &[])));
    assert_eq!(refused.status, 503, "{}", refused.head);
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "last");
    }
}

#[test]
fn a_lower_limit_per_user_ends_no_stream_and_refuses_new_ones() {
    let mut server = Server::start("max_connections_per_user = 5\n");
    let mut streams = streams_of_one_user(&server, 5);
    server.reconfigure(
        "max_connections_per_user = 5",
        "max_connections_per_user = 2",
    );
    server.upgrade();
    assert_eq!(server.connections("1"), 5);
    let path = format!("{NOTIFICATIONS}?token={}", token("1", None, &[]));
    let address = address(server.addresses, "sse");
    let status = || Client::connect(address).open(&path).status;
    assert_eq!(status(), 429);
    server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "after");
    }
    streams.truncate(1);
    eventually("their ends are noticed", || server.connections("1") == 1);
    assert_eq!(status(), 200);
}

#[test]
fn what_waits_for_a_slow_client_moves_even_if_new_limits_would_not_let_it_wait() {
    const EVENTS: usize = 20;
    let mut server = Server::start(
        "max_backlog_bytes = \"16MiB\"\nsend_buffer = \"8KiB\"\nmax_connections_per_user = 6\n",
    );
    let mut streams: Vec<_> = TRANSPORTS
        .iter()
        .map(|transport| {
            let client = connect_narrow(address(server.addresses, transport));
            let token = token("slow", None, &[]);
            client.open(&format!("{NOTIFICATIONS}?token={token}"))
        })
        .collect();
    let text = |number: usize| format!("{number} {}", "x".repeat(20_000));
    for number in 0..EVENTS {
        let data = text(number);
        server.publish(&format!(r#"{{"to":{{"user":"slow"}},"data":"{data}"}}"#));
    }
    server.reconfigure("\"16MiB\"", "\"64KiB\"");
    server.upgrade();
    for stream in &mut streams {
        stream.begin();
        for number in 0..EVENTS {
            assert_eq!(next_data(stream), text(number));
        }
    }
    server.publish(r#"{"to":{"user":"slow"},"data":"last"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "last");
    }
}

#[test]
fn a_shorter_history_keeps_the_newest_events_and_reports_the_gap() {
    let history = "[history]\nmax_bytes = \"1MiB\"\n";
    let mut server = Server::start_with_section(history);
    let address = address(server.addresses, "sse");
    let token = token("1", None, &[]);
    let mut stream = open(address, &token, "");
    let data = "x".repeat(1_000);
    let mut ids = Vec::new();
    for _ in 0..100 {
        let event = format!(r#"{{"to":{{"user":"1"}},"data":"{data}"}}"#);
        let answer = server.admin("POST", "/v1/events", &event);
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
        assert_eq!(next_data(&mut stream), data);
    }
    server.reconfigure("\"1MiB\"", "\"10KiB\"");
    server.upgrade();
    let returning = |id: &str| {
        let mut stream = Client::connect(address).reconnect(&token, id);
        stream.begin();
        stream.next().unwrap()
    };
    assert!(returning(&ids[97]).contains(&ids[98]));
    let gap = returning(&ids[0]);
    assert!(gap.contains("event: replay_gap\n"), "{gap}");
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    assert_eq!(next_data(&mut stream), "last");
}

/// Moves a user's streams, while requests for more are under way in the old process.
fn move_in_between(
    server: &mut Server,
    streams: usize,
    late_user: &str,
    late: usize,
) -> (Vec<Stream>, Vec<BegunRequest>) {
    let streams = streams_of_one_user(server, streams);
    let begun = (0..late).map(|_| BegunRequest::send(server.addresses, late_user));
    let begun = begun.collect();
    server.begin_upgrade();
    let new = server.wait_for_successor();
    server.follow(new);
    (streams, begun)
}

#[test]
fn requests_under_way_in_the_old_process_get_nobody_past_the_limit() {
    let mut server = Server::start("max_connections_per_user = 2\n");
    let (mut streams, begun) = move_in_between(&mut server, 2, "1", 6);
    for request in begun {
        // The old process has no other streams any more.
        let mut late = request.complete();
        late.begin();
        let rest = late.rest();
        assert!(
            rest.iter().any(|frame| frame.contains("evicted")),
            "{rest:?}"
        );
    }
    assert_eq!(server.connections("1"), 2);
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "last");
    }
}

#[test]
fn requests_under_way_in_the_old_process_get_nobody_past_max_connections() {
    let mut server = Server::start("max_connections = 100\n");
    let (mut streams, begun) = move_in_between(&mut server, 2, "2", 3);
    // Otherwise the table would be full first.
    server.reconfigure("max_connections = 100", "max_connections = 2");
    kill_process(server.pid(), Signal::HUP).unwrap();
    eventually("the limit is lower", || server.log().contains(" reloaded"));
    for request in begun {
        let mut late = request.complete();
        late.begin();
        late.rest();
    }
    assert_eq!((server.connections("1"), server.connections("2")), (2, 0));
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    for stream in &mut streams {
        assert_eq!(next_data(stream), "last");
    }
}

#[test]
fn a_late_stream_from_the_old_process_evicts_the_oldest() {
    let limit = "max_connections_per_user = 1\non_limit = \"evict_oldest\"\n";
    let mut server = Server::start(limit);
    let (mut streams, begun) = move_in_between(&mut server, 1, "1", 2);
    for request in begun {
        let mut late = request.complete();
        late.begin();
        let mut before = std::mem::replace(&mut streams, vec![late]).remove(0);
        before.rest();
    }
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    assert_eq!(next_data(&mut streams[0]), "last");
}
