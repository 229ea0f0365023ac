//! One address holds all places, each time with a different way to make the server wait. New clients from
//! other addresses still connect, and an earlier client keeps its connection.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Type};

use super::{IN_FLIGHT, get};
use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::{BASE, Client, NOTIFICATIONS, Stream, TestServer, eventually};

/// Places for handshakes; there is one shard.
const PLACES: usize = 16;
const NEWCOMERS: u8 = 6;
/// Longer than every grace period, and much shorter than `handshake_timeout`.
const GRACE: Duration = Duration::from_secs(1);
const CROWD: [u8; 4] = [127, 0, 0, 2];
const BYSTANDER: [u8; 4] = [127, 0, 0, 3];

fn server(change: impl FnOnce(&mut idlewild::config::Config)) -> TestServer {
    TestServer::with(|config| {
        config.shards = 1;
        config.max_handshakes = PLACES;
        change(config);
    })
}

/// A connection from this local address.
fn connect_from(server: &TestServer, address: [u8; 4]) -> Client {
    let tcp = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // A small buffer from the start, for clients that do not read.
    tcp.set_recv_buffer_size(4 * 1024).unwrap();
    tcp.bind(&SocketAddr::new(IpAddr::from(address), 0).into())
        .unwrap();
    tcp.connect(&server.public.tcp.into()).unwrap();
    tcp.set_tcp_nodelay(true).unwrap();
    Client::over(tcp.into(), server.public)
}

fn newcomer(number: u8) -> [u8; 4] {
    [127, 0, 1, number]
}

/// Fills all places but one with connections that `hold` keeps waiting, and checks the others.
fn crowd_out(server: &TestServer, hold: impl Fn(&mut Client)) -> (Vec<Client>, Vec<Stream>) {
    let bystander = bystander(server);
    let crowd: Vec<Client> = (1..PLACES)
        .map(|_| {
            let mut client = connect_from(server, CROWD);
            hold(&mut client);
            client
        })
        .collect();
    #[allow(clippy::cast_precision_loss)] // a small number
    server.wait_for_metric(IN_FLIGHT, PLACES as f64);
    server.advance(GRACE);
    let newcomers = newcomers(|number| connect_from(server, newcomer(number)));
    complete(bystander);
    (crowd, newcomers)
}

/// An earlier client, which has sent half a request.
fn bystander(server: &TestServer) -> Client {
    let mut bystander = connect_from(server, BYSTANDER);
    bystander.send("GET /healthz HTTP/1.1\r\n");
    server.wait_for_metric(IN_FLIGHT, 1.0);
    bystander
}

/// The rest of the bystander's request.
fn complete(mut bystander: Client) {
    bystander.send("Host: test\r\n\r\n");
    assert_eq!(bystander.stream().status, 200);
}

/// A new client gets a response and keeps its connection.
fn newcomers(connect: impl Fn(u8) -> Client) -> Vec<Stream> {
    let answered = |number| {
        let mut client = connect(number);
        client.send(get("/healthz"));
        let stream = client.stream();
        assert_eq!(stream.status, 200);
        stream
    };
    (0..NEWCOMERS).map(answered).collect()
}

#[test]
fn silent_connections_keep_nobody_out() {
    crowd_out(&server(|_| {}), |_| {});
}

#[test]
fn half_heads_keep_nobody_out() {
    crowd_out(&server(|_| {}), |client| {
        client.send("GET /healthz HTTP/1.1\r\nHo");
    });
}

#[test]
fn missing_bodies_keep_nobody_out() {
    crowd_out(&server(|_| {}), |client| {
        client.send(format!(
            "POST {BASE}/login/ HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n{{"
        ));
    });
}

#[test]
fn stream_requests_with_an_endless_body_keep_nobody_out() {
    crowd_out(&server(|_| {}), |client| {
        client.send(format!(
            "GET {NOTIFICATIONS} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
    });
}

#[test]
fn clients_that_do_not_read_keep_nobody_out() {
    let server = server(|_| {});
    // Far more responses than the sockets can buffer. The rest of the requests is less than the server
    // reads after its last response, so all clients but the first receive that response.
    let requests = get("/nowhere").repeat(3_000);
    crowd_out(&server, |client| {
        client.socket.set_nonblocking(true);
        let mut written = 0;
        // Until the server stops reading.
        eventually("the server is blocked", || {
            let before = written;
            while let Ok(more) = client.socket.write(&requests.as_bytes()[written..])
                && more > 0
            {
                written += more;
            }
            written == before || written == requests.len()
        });
    });
}

fn send_half_a_record(client: &mut Client) {
    let request = client
        .socket
        .seal(get(&format!("{BASE}/sse/test/")).as_bytes());
    let more = client.socket.seal(b"more");
    let records = [&request, &more[..10]].concat();
    client.socket.tcp().write_all(&records).unwrap();
}

#[test]
fn half_records_after_a_request_keep_nobody_out() {
    let server = TestServer::with_tls(|config| {
        config.shards = 1;
        config.max_handshakes = PLACES;
    });
    crowd_out(&server, send_half_a_record);
    assert_eq!(
        server.metric("idlewild_connections{transport=\"test\"}"),
        Some(0.0)
    );
}

#[test]
fn clients_that_wait_for_the_application_are_protected_up_to_a_share_of_the_places() {
    let backend = Backend::start(Reply::body(200, "{\"user_id\": 42}"));
    backend.hold();
    let server = server(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.max_connections_per_user = PLACES;
    });
    let (crowd, _newcomers) = crowd_out(&server, |client| {
        client.get(NOTIFICATIONS, "Cookie: sessionid=42\r\n");
        backend.wait_until_asked(1);
    });
    backend.release();
    let mut answered = crowd.into_iter().map(|client| {
        let answer = client.answered();
        answer.is_some_and(|stream| stream.status == 200)
    });
    assert_eq!(answered.next(), Some(true), "the oldest");
    assert!(answered.any(|is_answered| !is_answered));
}

/// Fills all places with connections that wait for their clients, each from a different address. No
/// address exceeds its share, so only the wait decides which ones give way.
fn crowd_out_from_everywhere(server: &TestServer, hold: impl Fn(&mut Client)) {
    let all = u8::try_from(PLACES).unwrap();
    let crowd: Vec<Client> = (0..all)
        .map(|number| {
            let mut client = connect_from(server, [127, 0, 2, number]);
            hold(&mut client);
            client
        })
        .collect();
    server.wait_for_metric(IN_FLIGHT, f64::from(all));
    server.advance(GRACE);
    newcomers(|number| connect_from(server, newcomer(number)));
    drop(crowd);
}

/// A request whose head the server has read, and whose body does not arrive.
fn send_no_body(client: &mut Client) {
    client.send(format!(
        "POST {BASE}/login/ HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\
         Content-Length: 50\r\n\r\n"
    ));
    let mut goes_on = [0; 25];
    client.socket.read_exact(&mut goes_on).unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn a_missing_body_protects_no_connection_from_any_address() {
    crowd_out_from_everywhere(&server(|_| {}), send_no_body);
}

#[test]
fn an_endless_body_protects_no_connection_from_any_address() {
    crowd_out_from_everywhere(&server(|_| {}), |client| {
        client.send(format!(
            "GET {NOTIFICATIONS} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
    });
}

#[test]
fn half_a_record_protects_no_connection_from_any_address() {
    let server = TestServer::with_tls(|config| {
        config.shards = 1;
        config.max_handshakes = PLACES;
    });
    crowd_out_from_everywhere(&server, send_half_a_record);
}

#[test]
fn an_idle_proxy_connection_counts_for_the_proxy_again() {
    let server = server(|config| {
        config.trusted_proxies = vec!["127.0.0.2".parse().unwrap()];
    });
    let bystander = bystander(&server);
    let crowd: Vec<Stream> = (1..PLACES)
        .map(|number| {
            let mut client = connect_from(&server, CROWD);
            client.send(format!(
                "GET /healthz HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n"
            ));
            let mut stream = client.stream();
            assert_eq!(stream.body(), "ok\n");
            stream
        })
        .collect();
    #[allow(clippy::cast_precision_loss)] // a small number
    server.wait_for_metric(IN_FLIGHT, PLACES as f64);
    server.advance(GRACE);
    let _newcomers = newcomers(|number| connect_from(&server, newcomer(number)));
    complete(bystander);
    drop(crowd);
}

#[test]
fn an_address_that_holds_all_places_gets_one_more_response_per_connection() {
    let server = server(|_| {});
    let ask = |stream: &mut Stream| {
        stream.socket.write_all(get("/healthz").as_bytes()).unwrap();
        assert!(stream.follow());
        assert_eq!(stream.body(), "ok\n");
        stream.header("connection").map(ToOwned::to_owned)
    };
    let open = |address| {
        let mut client = connect_from(&server, address);
        client.send(get("/healthz"));
        let mut stream = client.stream();
        stream.body();
        stream
    };
    let mut bystander = open(BYSTANDER);
    let mut first = open(CROWD);
    // More than its share, while half of the places are free.
    let _few: Vec<Client> = (0..4).map(|_| connect_from(&server, CROWD)).collect();
    server.wait_for_metric(IN_FLIGHT, 6.0);
    assert_eq!(ask(&mut first), None);
    let _others: Vec<Client> = (6..PLACES).map(|_| connect_from(&server, CROWD)).collect();
    #[allow(clippy::cast_precision_loss)] // a small number
    server.wait_for_metric(IN_FLIGHT, PLACES as f64);
    assert_eq!(ask(&mut first).as_deref(), Some("close"));
    assert!(!first.follow());
    assert_eq!(ask(&mut bystander), None);
}

#[test]
fn behind_a_trusted_proxy_clients_are_distinguished() {
    let server = server(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    });
    let post = |client: &mut Client, from: &str| {
        client.send(format!(
            "POST {BASE}/login/ HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {from}\r\n\
             Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        ));
        // The server has read the head.
        let mut goes_on = [0; 25];
        client.socket.read_exact(&mut goes_on).unwrap();
        assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    };
    let mut bystander = server.connect();
    post(&mut bystander, "192.0.2.3");
    let crowd: Vec<Client> = (1..PLACES)
        .map(|number| {
            let mut client = server.connect();
            // An IPv6 client can use all addresses of a /64.
            post(&mut client, &format!("2001:db8::{number}"));
            client
        })
        .collect();
    #[allow(clippy::cast_precision_loss)] // a small number
    server.wait_for_metric(IN_FLIGHT, PLACES as f64);
    server.advance(GRACE);
    let _newcomers = newcomers(|_| server.connect());
    bystander.send("{}");
    assert_eq!(bystander.stream().status, 400);
    drop(crowd);
}

#[test]
fn behind_a_layer_4_balancer_clients_are_distinguished() {
    let server = server(|config| {
        let listeners = if config.tls.listen.is_empty() {
            &config.listen
        } else {
            &config.tls.listen
        };
        config.proxy_protocol.clone_from(listeners);
    });
    let from = |address: &str| {
        let mut client = server.connect();
        let header = format!("PROXY TCP4 {address} 192.0.2.1 4321 443\r\n");
        client.socket.begin_with(header.as_bytes());
        client.send("GET /healthz HTTP/1.1\r\n");
        client
    };
    let bystander = from("192.0.2.3");
    server.wait_for_metric(IN_FLIGHT, 1.0);
    let crowd: Vec<Client> = (1..PLACES).map(|_| from("192.0.2.2")).collect();
    #[allow(clippy::cast_precision_loss)] // a small number
    server.wait_for_metric(IN_FLIGHT, PLACES as f64);
    server.advance(GRACE);
    for number in 0..NEWCOMERS {
        complete(from(&format!("198.51.100.{number}")));
    }
    complete(bystander);
    drop(crowd);
}

#[test]
fn a_flood_on_one_listener_does_not_close_another() {
    let server = TestServer::with_tls(|config| {
        config.shards = 1;
        config.max_handshakes = PLACES;
    });
    let plain = server.plain();
    let crowd: Vec<Client> = (0..4 * PLACES)
        .map(|_| {
            let client = Client::connect(server.public);
            client
                .socket
                .tcp()
                .write_all(b"\x16\x03\x01\x02\0\x01")
                .unwrap();
            client
        })
        .collect();
    #[allow(clippy::cast_precision_loss)] // a small number
    server.wait_for_metric(IN_FLIGHT, PLACES as f64);
    let fresh =
        std::thread::spawn(move || crate::support::request(plain, "GET", "/healthz", &[], ""));
    eventually("the fresh client is served", || {
        server.advance(Duration::from_millis(100));
        fresh.is_finished()
    });
    assert_eq!(fresh.join().unwrap().status, 200);
    drop(crowd);
}
