//! A connection from its accept to its slot: the request is parsed and routed, its token is verified,
//! its user is admitted, and the socket leaves hyper.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::config::Config;
use idlewild::public::{Extras, Public, Reloadable};
use idlewild::shard::bench::Solo;
use idlewild::shard::{Shared, StartHandshake};
use idlewild::shutdown::Shutdown;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::fixture;

/// Connections in one count, one after another.
const CONNECTIONS: usize = 50;

struct Door {
    // In the order of their dependence: the last one is dropped last.
    sockets: Vec<UnixStream>,
    local: LocalSet,
    solo: Solo,
    start: StartHandshake,
    shared: Shared,
    _ends: Vec<UnixStream>,
    runtime: Runtime,
}

/// All requests have already arrived, so no count waits.
fn door() -> Door {
    let config = Config {
        auth: fixture::auth(),
        ..Config::default()
    };
    let runtime = fixture::runtime();
    let shared = fixture::shared();
    let public = Arc::new(Public::new(
        &config,
        Reloadable::new(&config).expect("the configuration is good"),
        Extras::default(),
        Arc::clone(&shared.hub),
        runtime.handle().clone(),
        Shutdown::default(),
    ));
    let context = runtime.enter();
    let solo = Solo::new(shared.clone()).expect("a shard starts");
    drop(context);
    let (ends, sockets) = (0..CONNECTIONS)
        .map(|user| {
            let (mut client, server) = UnixStream::pair().expect("two descriptors more");
            client
                .write_all(request(&fixture::token(&config.auth, user)).as_bytes())
                .expect("a request fits");
            server.set_nonblocking(true).expect("a socket of ours");
            (client, server)
        })
        .unzip();
    Door {
        sockets,
        local: LocalSet::new(),
        solo,
        start: public.start_handshake(),
        shared,
        _ends: ends,
        runtime,
    }
}

/// The request of a browser's EventSource.
fn request(token: &str) -> String {
    format!(
        "GET /api/v1/auth/sse/notifications/?token={token} HTTP/1.1\r\n\
         Host: events.example.com\r\n\
         Accept: text/event-stream\r\n\
         Accept-Encoding: gzip, deflate, br\r\n\
         Accept-Language: en-US,en;q=0.9\r\n\
         Cache-Control: no-cache\r\n\
         Connection: keep-alive\r\n\
         Origin: https://app.example.com\r\n\
         Referer: https://app.example.com/\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\r\n"
    )
}

#[allow(clippy::needless_pass_by_value)] // as a teardown is called
fn all_stand_in_the_table(door: Door) {
    assert_eq!(door.solo.len(), CONNECTIONS);
    assert_eq!(door.shared.hub.streams().used(), CONNECTIONS as u64);
}

#[library_benchmark(setup = door, teardown = all_stand_in_the_table)]
fn parse_to_detach(mut door: Door) -> Door {
    let sockets = std::mem::take(&mut door.sockets);
    door.local.block_on(&door.runtime, async {
        for socket in sockets {
            let held = door.solo.len();
            door.solo.accept(socket.into(), &door.start);
            while door.solo.len() == held {
                tokio::task::yield_now().await;
            }
        }
    });
    door
}

library_benchmark_group!(name = handshake, benchmarks = parse_to_detach);
