//! Drain: streams end at a rate, each with its own retry delay, and no new streams are accepted.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{
    Client, NOTIFICATIONS, PATIENCE, START_UNIX_MS, Socket, Stream, TestServer, eventually,
    request, shard_of, varied_text,
};

const DRAINED: &str = "idlewild_disconnects_total{reason=\"drained\"}";

fn streams(server: &TestServer, count: usize) -> Vec<Stream> {
    (0..count).map(|_| server.stream("42")).collect()
}

/// The delay in a stream's last frame, which has to be the only frame.
#[track_caller]
fn last_retry_ms(stream: &mut Stream) -> u64 {
    let frames = stream.last();
    assert_eq!(frames.len(), 1, "{frames:?}");
    let retry = frames[0].strip_prefix("retry: ").unwrap();
    retry.strip_suffix("\n\n").unwrap().parse().unwrap()
}

fn drained(server: &TestServer) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
    server.metric(DRAINED).map_or(0, |count| count as u64)
}

#[test]
fn streams_end_at_the_rate_each_with_its_own_delay() {
    const STREAMS: usize = 100;
    const RATE: u64 = 40;
    let mut server = TestServer::with(|config| {
        config.max_connections_per_user = STREAMS;
        config.drain_rate = 40;
        config.drain_timeout = Duration::from_secs(60);
        // On a busy machine, the clock below advances far beyond the end of the last streams.
        config.heartbeat = Duration::from_secs(7_200);
        config.retry_min = Duration::from_secs(3);
        config.retry_max = Duration::from_secs(9);
    });
    let mut streams = streams(&server, STREAMS);
    let presence = server.admin("GET", "/v1/users/42", "").json();
    let mut held: HashMap<String, u64> = HashMap::new();
    for connection in presence["connections"].as_array().unwrap() {
        *held.entry(shard_of(connection)).or_default() += 1;
    }
    let drain = server.drain();
    // Each shard ends its first stream at once, and the others at its share of the rate.
    let ended_at_ms = |at_ms: u64, more: u64| -> u64 {
        let ended = |held: u64| {
            let share = (RATE * held).div_ceil(STREAMS as u64);
            (at_ms * share / 1_000 + more).min(held)
        };
        held.values().map(|held| ended(*held)).sum()
    };
    eventually("each shard has begun", || {
        drained(&server) == ended_at_ms(0, 1)
    });
    let all = STREAMS as u64;
    let mut at_ms = 0;
    loop {
        assert!(
            drained(&server) <= ended_at_ms(at_ms, 2),
            "too fast at {at_ms} ms"
        );
        server.advance(Duration::from_millis(250));
        at_ms += 250;
        if ended_at_ms(at_ms, 1) == all {
            break; // the last stream may have ended, and then the server no longer responds
        }
        let due = ended_at_ms(at_ms, 0);
        eventually("the rate is kept", || drained(&server) >= due);
    }
    assert!(at_ms >= 2_000, "{at_ms}");
    while !drain.is_finished() {
        streams.iter_mut().for_each(Stream::respond);
        server.advance(Duration::from_millis(250));
        std::thread::yield_now();
    }
    drain.join().unwrap();
    let delays: HashSet<u64> = streams.iter_mut().map(last_retry_ms).collect();
    assert!(
        delays.iter().all(|delay| (3_000..=9_000).contains(delay)),
        "{delays:?}"
    );
    // Out of 6,001 possible delays, a hundred are almost all different.
    assert!(delays.len() > 80, "{}", delays.len());
    let spread = delays.iter().max().unwrap() - delays.iter().min().unwrap();
    assert!(spread > 4_000, "{spread}");
}

#[test]
fn new_streams_are_refused_and_readiness_has_the_reason() {
    let mut server = TestServer::with(|config| {
        config.max_connections_per_user = 50;
        config.drain_rate = 1;
    });
    let mut streams = streams(&server, 40);
    let token = server.token("43");
    // This request is incomplete when the drain begins.
    let mut waiting = server.connect();
    let path = format!("{NOTIFICATIONS}?token={token}");
    let get = server.public.get(&path, "");
    waiting.send(&get[..get.len() / 2]);
    for _ in 0..20 {
        assert_eq!(server.get("/healthz").status, 200);
    }
    assert_eq!(request(server.admin, "GET", "/readyz", &[], "").status, 200);
    let state = |server: &TestServer| {
        let [ready, draining] = ["idlewild_ready", "idlewild_draining"];
        (server.metric(ready), server.metric(draining))
    };
    assert_eq!(state(&server), (Some(1.0), Some(0.0)));
    let drain = server.drain();
    eventually("not ready", || {
        let answer = request(server.admin, "GET", "/readyz", &[], "");
        answer.status == 503 && answer.json()["ready"] == false && answer.body.contains("draining")
    });
    assert_eq!(state(&server), (Some(0.0), Some(1.0)));
    eventually("each shard has begun", || drained(&server) == 2);
    // The server stays alive all the time.
    assert_eq!(
        request(server.admin, "GET", "/healthz", &[], "").status,
        200
    );
    waiting.send(&get[get.len() / 2..]);
    let mut refused = waiting.stream();
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.next().unwrap().contains("Shutting down"));
    for _ in 0..10 {
        let get = server.public.over_sse().get(&path, "");
        assert!(is_refused(&server, &get), "a stream was let in");
    }
    // Open streams stay open until it is their turn.
    let open = streams.iter_mut().map(Stream::is_silent);
    assert_eq!(open.filter(|is_open| *is_open).count(), 38);
    end(&server, drain);
}

#[test]
fn streams_that_remain_at_the_timeout_end_at_once() {
    let mut server = TestServer::with(|config| {
        config.max_connections_per_user = 50;
        config.drain_rate = 1;
        config.drain_timeout = Duration::from_secs(5);
    });
    let mut streams = streams(&server, 40);
    let drain = server.drain();
    eventually("each shard has begun", || drained(&server) == 2);
    // The last tenth of the time is for the remaining streams.
    server.advance(Duration::from_millis(4_400));
    eventually("a few more have ended", || drained(&server) >= 8);
    assert!(drained(&server) <= 14);
    server.advance(Duration::from_millis(600));
    drain.join().unwrap();
    for stream in &mut streams {
        let delay = last_retry_ms(stream);
        assert!((2_000..=6_000).contains(&delay), "{delay}");
    }
}

#[test]
fn a_server_without_streams_ends_at_once() {
    let mut server = TestServer::start();
    let stream = server.stream("42");
    drop(stream);
    server.wait_for_metric(&server.series("idlewild_connections"), 0.0);
    // The clock stands still.
    server.drain().join().unwrap();
    assert!(TcpStream::connect(server.public.tcp).is_err());
}

#[test]
fn an_idle_connection_does_not_delay_the_drain() {
    let mut server = TestServer::start();
    let mut idle = Client::connect(server.public);
    idle.send("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(idle.socket.read(&mut [0; 1_024]).unwrap() > 0);
    let mut silent = Client::connect(server.public);
    server.wait_for_metric("idlewild_handshakes_in_flight", 2.0);
    // The clock stands still, and no client reads or closes.
    server.drain().join().unwrap();
    assert!(idle.read_to_end().is_empty());
    assert!(silent.read_to_end().is_empty());
}

#[test]
fn a_silent_tls_connection_does_not_delay_the_drain() {
    let mut server = TestServer::with_tls(|_| {});
    let mut silent = TcpStream::connect(server.public.tcp).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    server.wait_for_metric("idlewild_handshakes_in_flight", 1.0);
    // The clock stands still.
    let drain = server.drain();
    assert_eq!(silent.read_to_end(&mut Vec::new()).unwrap(), 0);
    drain.join().unwrap();
}

#[test]
fn a_tls_connection_without_a_request_ends_with_close_notify() {
    let mut server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    client.socket.handshake().unwrap();
    server.wait_for_metric("idlewild_handshakes_in_flight", 1.0);
    let drain = server.drain();
    // Without `close_notify`, this is an error.
    assert_eq!(client.socket.read_to_end(&mut Vec::new()).unwrap(), 0);
    drop(client);
    drain.join().unwrap();
}

#[test]
fn a_client_that_does_not_close_after_the_last_response_delays_the_drain_only_briefly() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let mut server = TestServer::with(|config| config.drain_timeout = HOUR);
    let mut client = server.connect();
    client.send("GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut answer = client.stream();
    assert_eq!((answer.status, answer.body().as_str()), (200, "ok\n"));
    let drain = server.drain();
    // The clock advances while the server's threads still work; on a busy machine, it advances further. It
    // stops far from the timeout, so the timeout ends nothing.
    eventually("the drain is over", || {
        if server.clock.unix_ms() < START_UNIX_MS + 1_800_000 {
            server.advance(Duration::from_secs(1));
        }
        drain.is_finished()
    });
    drain.join().unwrap();
    assert!(!answer.follow());
}

#[test]
fn a_client_that_reads_nothing_does_not_delay_the_drain_beyond_its_timeout() {
    let mut server = TestServer::start();
    let stream = server.stream("42");
    let path = "/v1/events";
    let body = serde_json::json!({"to": {"all": true}, "data": varied_text(60_000)}).to_string();
    // Until some bytes wait that the client's kernel has not taken.
    eventually("a backlog", || {
        assert_eq!(server.admin("POST", path, &body).status, 202);
        server.metric("idlewild_backlogged_connections") == Some(1.0)
            || server.metric(&server.series("idlewild_connections")) == Some(0.0)
    });
    let drain = server.drain();
    end(&server, drain);
    drop(stream);
}

/// Advances the clock until the server has ended.
fn end(server: &TestServer, drain: std::thread::JoinHandle<()>) {
    eventually("the drain is over", || {
        server.advance(Duration::from_secs(1));
        drain.is_finished()
    });
    drain.join().unwrap();
}

/// Returns true if the kernel or the server refuses the request.
fn is_refused(server: &TestServer, get: &str) -> bool {
    let Ok(tcp) = TcpStream::connect(server.public.tcp) else {
        return true;
    };
    let mut socket = Socket::over(tcp, server.public.is_tls);
    let mut answer = Vec::new();
    // The server may close before either of these.
    let _ = socket.write_all(get.as_bytes());
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.is_empty() || (answer.starts_with("HTTP/1.1 503") && answer.contains("Shutting down"))
}

#[test]
fn an_incomplete_request_does_not_outlast_drain_timeout() {
    let mut server = TestServer::with(|config| {
        config.drain_timeout = Duration::from_secs(5);
        config.handshake_timeout = Duration::from_secs(3_600);
        config.shards = 1;
    });
    let mut half = server.connect();
    half.send("GET /healthz HTTP/1.1\r\nHo");
    // The drain does not wait for a connection that has sent nothing. The shard takes sockets in turn, so
    // after this response it has read the half request above.
    assert_eq!(server.get("/healthz").status, 200);
    server.wait_for_metric("idlewild_handshakes_in_flight", 1.0);
    let drain = server.drain();
    eventually("it ends by then", || {
        server.advance(Duration::from_millis(10));
        drain.is_finished()
    });
    drain.join().unwrap();
    let waited_ms = server.clock.unix_ms() - START_UNIX_MS;
    // The end of the threads is noticed in real time, so the clock may have advanced a little more.
    assert!(
        half.read_to_end().is_empty() && waited_ms >= 4_500,
        "{waited_ms}"
    );
}
