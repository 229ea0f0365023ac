//! Unix sockets on both listeners. They never use TLS, even if the other tests do: traffic within one
//! machine does not need it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;

use crate::support::process::{Process, config, idlewild};
use crate::support::{API_KEY, NOTIFICATIONS, SECRET, eventually};

/// A server with the listeners `public.sock` and `admin.sock` in a new directory.
fn serve(directory: &Path) -> Process {
    let more = config("log_level = \"debug\"")
        .replacen(
            "127.0.0.1:0",
            &format!("unix:{}/public.sock", directory.display()),
            1,
        )
        .replacen(
            "127.0.0.1:0",
            &format!("unix:{}/admin.sock", directory.display()),
            1,
        );
    Process::serve_config(&more)
}

fn send(path: &Path, request: &str) -> UnixStream {
    let mut socket = UnixStream::connect(path).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Reads until the received bytes contain `end`.
fn read_until(socket: &mut UnixStream, end: &str) -> String {
    let mut received = String::new();
    let mut buffer = [0; 4_096];
    while !received.contains(end) {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "closed after {received:?}");
        received.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    received
}

fn admin(directory: &Path, method: &str, path: &str, body: &str) -> String {
    let mut socket = send(
        &directory.join("admin.sock"),
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Authorization: Bearer {API_KEY}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stream_and_its_events_work_over_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut process = serve(directory);
    let token = idlewild(
        &["token", "--user", "42"],
        &[("IDLEWILD_AUTH__SECRET", SECRET)],
        "",
    )
    .stdout;
    let request = format!(
        "GET {NOTIFICATIONS}?token={} HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n",
        token.trim()
    );
    let mut stream = send(&directory.join("public.sock"), &request);
    assert!(read_until(&mut stream, "\n\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    admin(
        directory,
        "POST",
        "/v1/events",
        r#"{"to": {"user": "42"}, "data": "over a file"}"#,
    );
    assert!(read_until(&mut stream, "\n\n").contains("data: over a file\n"));
    let presence = admin(directory, "GET", "/v1/users/42", "");
    assert!(presence.contains(r#""remote":"203.0.113.9""#), "{presence}");
    process.signal(Signal::TERM);
    assert!(read_until(&mut stream, "0\r\n\r\n").contains("retry: "));
    assert_eq!(process.wait().code(), Some(0));
    // The socket files that it leaves do not prevent the next start.
    let mut next = serve(directory);
    next.signal(Signal::TERM);
    assert_eq!(next.wait().code(), Some(0));
}

#[test]
fn a_socket_file_is_accessible_to_owner_and_group() {
    let directory = tempfile::tempdir().unwrap();
    let _process = serve(directory.path());
    for name in ["public.sock", "admin.sock"] {
        let metadata = std::fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660, "{name}");
    }
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let left = UnixListener::bind(directory.path().join("public.sock")).unwrap();
    // A process that another test starts has a copy until it executes its program.
    shutdown(&left, Shutdown::Both).unwrap();
    drop(left);
    let _process = serve(directory.path());
    let mut socket = send(
        &directory.path().join("public.sock"),
        "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert!(read_until(&mut socket, "ok").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_socket_in_use_and_a_file_that_is_not_a_socket_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live.sock");
    let _listener = UnixListener::bind(&live).unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    for (path, why) in [
        (&live, "another process listens"),
        (&file, "is not a socket"),
    ] {
        let endpoint = format!("unix:{}", path.display());
        let ended = idlewild(
            &[
                "serve",
                "--dev",
                "--listen",
                &endpoint,
                "--admin-listen",
                "127.0.0.1:0",
            ],
            &[],
            "",
        );
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    eventually("the live one still listens", || {
        UnixStream::connect(&live).is_ok()
    });
}
