//! Keys are logged only on a development server, and only on request.

use std::fs;
use std::path::Path;

use crate::support::process::{Process, command, config};
use crate::support::{request, transport};

/// A server that has served a client over TLS.
fn serve(dev: bool, key_log: Option<&Path>) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("idlewild.toml");
    let text = transport::with_tls_listener(&config(""), directory.path());
    fs::write(&file, text).unwrap();
    let mut command = command();
    command.arg("serve").arg("--config").arg(&file);
    if dev {
        command.arg("--dev");
    }
    if let Some(path) = key_log {
        command.env("SSLKEYLOGFILE", path);
    }
    let process = Process::start(command, directory);
    assert_eq!(
        request(process.tls(), "GET", "/healthz", &[], "").status,
        200
    );
    process
}

#[test]
fn a_development_server_writes_keys_down_where_it_is_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let _process = serve(true, Some(&keys));
    let keys = fs::read_to_string(keys).unwrap();
    for secret in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert!(keys.contains(secret), "{keys}");
    }
}

#[test]
fn any_other_server_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let process = serve(false, Some(&keys));
    assert!(!keys.exists());
    drop((process, serve(true, None)));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
