//! Publishing without waiting for answers: every event is sent and counted, its answer is timed from its schedule, and a
//! user's events keep their order.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};

use crate::hub::{Faults, Hub, header, read_head};
use crate::scenarios::run;
use crate::server::{API_KEY, Server};

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";

/// What an admin listener does with the requests of one connection.
type Answer = dyn Fn(usize, &mut TcpStream) -> Next + Send + Sync;

enum Next {
    GoOn,
    Close,
}

/// An admin listener. `answer` gets the number of each request and its connection.
fn admin(answer: Arc<Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
            std::thread::spawn(move || {
                while read_request(&mut stream) {
                    let number = requests.fetch_add(1, Ordering::SeqCst);
                    if matches!(answer(number, &mut stream), Next::Close) {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn read_request(stream: &mut TcpStream) -> bool {
    let head = read_head(stream);
    let Some(length) = header(&head, "content-length") else {
        return false;
    };
    stream
        .read_exact(&mut vec![0; length.parse().unwrap()])
        .is_ok()
}

/// Publishes to nobody on this listener, with one client.
fn publish(admin_url: &str, rate: u32, publishers: u32) -> (Option<i32>, serde_json::Value) {
    let hub = Hub::start(Faults::default());
    let line = format!(
        "publish -n 1 --to-nobody --rate {rate} --seconds 1 --publishers {publishers} --path /s/${{user}} --url {} \
         --admin-url {admin_url} --api-key k",
        hub.public_url
    );
    let (code, report, _) = run(&line);
    (code, report)
}

#[test]
fn every_event_reaches_its_user_in_order_over_several_connections() {
    let hub = Hub::start(Faults::default());
    let line = format!(
        "publish -n 12 --users 4 --rate 500 --seconds 1 --publishers 3 --path /s/${{user}} --url {} --admin-url {} \
         --api-key k",
        hub.public_url, hub.admin_url
    );
    let (code, report, _) = run(&line);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&500.into(), &0.into())
    );
    assert_eq!(report["received"], 500 * 3, "three connections per user");
    for key in ["rate_asked", "rate_reached", "publisher_cpu_us_per_event"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
}

#[test]
fn a_real_server_accepts_all_in_batches_too() {
    let (server, secret) = (Server::start("publish"), Server::secret_file("publish"));
    let line = format!(
        "publish -n 5 --rate 4000 --seconds 1 --publishers 2 --batch 50 --linger 10s --url {} --admin-url {} --secret-file {} \
         --api-key {API_KEY} --server-pid {}",
        server.public_url(),
        server.admin_url(),
        secret.display(),
        server.pid()
    );
    let (code, report, _) = run(&line);
    std::fs::remove_file(&secret).unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["accepted"], &report["received"]),
        (&4_000.into(), &4_000.into())
    );
    assert_eq!(server.counter("idlewild_published_total"), 4_000);
    // Both connections have 50 events long before the first has waited for 10 s. At most the last batches are not full.
    let requests = server.counter("idlewild_admin_requests_total");
    assert!((80..=90).contains(&requests), "{requests} requests");
    assert!(report["server_cpu_us_per_event"].is_f64());
}

#[test]
fn a_request_that_is_answered_late_holds_up_no_other_connection_and_counts_with_its_wait() {
    // The first request is answered when 50 others were, on the other connections.
    let (answered, others): (_, Receiver<()>) = channel();
    let others = parking_lot::Mutex::new(others);
    let answer = move |number: usize, stream: &mut TcpStream| {
        if number == 0 {
            let others = others.lock();
            (0..50).for_each(|_| others.recv().unwrap());
        }
        stream.write_all(ACCEPTED).unwrap();
        let _ = answered.send(());
        Next::GoOn
    };
    let (code, report) = publish(&admin(Arc::new(answer)), 200, 4);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["accepted"], 200);
    // The 50 others are due within a third of a second or more. Every fourth event waits behind the first one, and counts
    // from its schedule: several of them waited for most of that time, whenever they were sent.
    let late_ms = report["answer_from_schedule_ms"]["p99"].as_f64().unwrap();
    assert!(late_ms >= 200.0, "{report}");
}

#[test]
fn refused_events_and_closed_connections_fail_the_run_with_their_reasons() {
    let answer = |number: usize, stream: &mut TcpStream| match number % 10 {
        3 => {
            let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
            stream.write_all(refusal).unwrap();
            Next::GoOn
        }
        7 => Next::Close,
        _ => {
            stream.write_all(ACCEPTED).unwrap();
            Next::GoOn
        }
    };
    let (code, report) = publish(&admin(Arc::new(answer)), 100, 3);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&80.into(), &20.into())
    );
    let failures = report["failures"].as_object().unwrap();
    assert_eq!(failures["publish: 503 busy"], 10, "{failures:?}");
    let closed = failures.iter().find(|(reason, _)| reason.contains("ended"));
    assert_eq!(closed.unwrap().1, 10, "{failures:?}");
}

#[test]
fn requests_of_several_connections_are_under_way_at_once() {
    let all = Barrier::new(4);
    // Each waits for the three others.
    let answer = move |number: usize, stream: &mut TcpStream| {
        if number < 4 {
            all.wait();
        }
        stream.write_all(ACCEPTED).unwrap();
        Next::GoOn
    };
    let (code, report) = publish(&admin(Arc::new(answer)), 100, 4);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["accepted"], 100);
}
