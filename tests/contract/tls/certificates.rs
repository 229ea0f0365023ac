//! Which certificate a client gets, and how certificates are replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idlewild::config::{self, Secret};
use tempfile::TempDir;

use super::{assert_lives, come, tls_error};
use crate::support::certificate::Certificate;
use crate::support::{TestServer, eventually, log};

/// The interval at which files are checked.
const WATCH: Duration = Duration::from_secs(10);

/// A server with these certificates, in this order.
fn serve(certificates: &[&Certificate]) -> (TestServer, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::with_tls(|config| {
        config.tls.certificates = written(certificates, directory.path());
    });
    (server, directory)
}

fn written(certificates: &[&Certificate], directory: &Path) -> Vec<config::Certificate> {
    let write =
        |(n, certificate): (usize, &&Certificate)| certificate.write(directory, &n.to_string());
    certificates.iter().enumerate().map(write).collect()
}

/// Replaces a file with another one, as tools that renew certificates do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn renew(files: &config::Certificate, certificate: &Certificate) {
    replace(&files.cert, &certificate.cert_pem);
    replace(&files.key, &certificate.key_pem);
}

/// Returns true if a client that trusts only this certificate can connect with this name.
fn shows(server: &TestServer, certificate: &Certificate, name: &str) -> bool {
    let mut client = come(server, &Arc::new(certificate.client()), name);
    if client.socket.handshake().is_err() {
        return false;
    }
    let shown = client
        .socket
        .session()
        .peer_certificates()
        .unwrap()
        .to_vec();
    shown == [certificate.der.clone()]
}

/// Advances the server's clock until the check succeeds. The server may have started to wait just now.
fn watched(server: &TestServer, what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || {
        server.advance(WATCH);
        is_so()
    });
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for_or_the_first() {
    let first = Certificate::of(&["first.test", "127.0.0.1"]);
    let second = Certificate::of(&["second.test", "*.second.test"]);
    let also_second = Certificate::of(&["second.test", "third.test"]);
    let (server, _directory) = serve(&[&first, &second, &also_second]);
    assert!(shows(&server, &first, "first.test"));
    assert!(shows(&server, &second, "second.test"));
    assert!(shows(&server, &second, "SECOND.test"));
    assert!(shows(&server, &second, "www.second.test"));
    assert!(shows(&server, &also_second, "third.test"));
    // An IP address is not sent as a server name.
    assert!(shows(&server, &first, "127.0.0.1"));
    // A wildcard covers one label.
    for nobodys in ["fourth.test", "a.b.second.test"] {
        let mut client = come(&server, &Arc::new(first.client()), nobodys);
        let error = tls_error(client.socket.handshake()).to_string();
        assert!(
            error.contains("not valid for name") && error.contains("first.test"),
            "{error}"
        );
    }
}

#[test]
fn a_reload_brings_new_certificates_and_open_streams_stay() {
    let (old, new) = (
        Certificate::of(&["old.test"]),
        Certificate::of(&["new.test"]),
    );
    let (mut server, directory) = serve(&[&old]);
    let mut stream =
        come(&server, &Arc::new(old.client()), "old.test").open(&super::stream_path(&server, "42"));
    stream.begin();
    assert!(shows(&server, &old, "old.test"));

    server.config.tls.certificates = vec![new.write(directory.path(), "new")];
    let running = server.server.as_ref().unwrap();
    running.reload(&server.config).unwrap();
    assert!(shows(&server, &new, "new.test"));
    assert!(!shows(&server, &old, "old.test"));
    assert_lives(&server, &mut stream, "42");
}

#[test]
fn a_reload_with_an_invalid_file_changes_nothing() {
    let old = Certificate::of(&["old.test"]);
    let (mut server, directory) = serve(&[&old]);
    let files = Certificate::of(&["new.test"]).write(directory.path(), "new");
    fs::write(&files.cert, "").unwrap();
    server.config.auth.secret = Secret::new("another secret of more than thirty-two bytes");
    server.config.tls.certificates.push(files.clone());
    let running = server.server.as_ref().unwrap();
    let error = running.reload(&server.config).err().unwrap().to_string();
    assert_eq!(
        error,
        format!(
            "tls.certificates[1]: {}: holds no certificate (name a PEM file of the chain)",
            files.cert.display()
        )
    );
    assert!(shows(&server, &old, "old.test"));
    // The secret is not changed either.
    let old_client = Arc::new(old.client());
    let with_new_secret = super::stream_path(&server, "42");
    let answer = come(&server, &old_client, "old.test").open(&with_new_secret);
    assert_eq!(answer.status, 401);
}

#[test]
fn a_reload_without_certificates_keeps_the_current_ones() {
    let old = Certificate::of(&["old.test"]);
    let (mut server, _directory) = serve(&[&old]);
    server.config.tls.certificates.clear();
    let running = server.server.as_ref().unwrap();
    running.reload(&server.config).unwrap();
    assert!(shows(&server, &old, "old.test"));
}

#[test]
fn replaced_files_are_loaded_automatically() {
    let (old, new) = (
        Certificate::of(&["old.test"]),
        Certificate::of(&["new.test"]),
    );
    let (server, _directory) = serve(&[&old]);
    renew(&server.config.tls.certificates[0], &new);
    assert!(shows(&server, &old, "old.test"), "before its time");
    watched(&server, "the new is in force", || {
        shows(&server, &new, "new.test")
    });
    assert!(!shows(&server, &old, "old.test"));
}

#[test]
fn files_behind_a_replaced_link_are_loaded_automatically() {
    let (old, new) = (
        Certificate::of(&["old.test"]),
        Certificate::of(&["new.test"]),
    );
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (certificate, name) in [(&old, "1"), (&new, "2")] {
        fs::create_dir(path(name)).unwrap();
        certificate.write(&path(name), "own");
    }
    symlink("1", path("live")).unwrap();
    let server = TestServer::with_tls(|config| {
        config.tls.certificates = vec![config::Certificate {
            cert: path("live").join("own.pem"),
            key: path("live").join("own.key.pem"),
        }];
    });
    assert!(shows(&server, &old, "old.test"));
    symlink("2", path("next")).unwrap();
    fs::rename(path("next"), path("live")).unwrap();
    watched(&server, "the new is in force", || {
        shows(&server, &new, "new.test")
    });
}

#[test]
fn invalid_files_are_logged_once_and_the_old_certificate_stays_until_they_are_valid() {
    log::listen();
    let (old, new) = (
        Certificate::of(&["old.test"]),
        Certificate::of(&["new.test"]),
    );
    let (server, directory) = serve(&[&old]);
    let files = &server.config.tls.certificates[0];
    let name = directory.path().to_str().unwrap();

    // Only one of two files, as between the two writes of a renewal.
    replace(&files.cert, &new.cert_pem);
    watched(&server, "it is said", || !log::lines(name).is_empty());
    assert!(shows(&server, &old, "old.test"));
    for _ in 0..3 {
        server.advance(WATCH);
        assert_eq!(server.admin("GET", "/v1/stats", "").status, 200);
    }
    let said = log::lines(name);
    assert_eq!(said.len(), 1, "{said:?}");
    let text = format!(
        "the previous certificates stay in force error=tls.certificates[0]: {} is not the key of {} \
         (name the two files that were issued together)",
        files.key.display(),
        files.cert.display()
    );
    assert!(said[0].contains(&text), "{said:?}");

    replace(&files.key, &new.key_pem);
    watched(&server, "the new is in force", || {
        shows(&server, &new, "new.test")
    });
    assert_eq!(log::lines(name).len(), 1);
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_used_when_it_becomes_valid() {
    log::listen();
    let old = Certificate::of(&["old.test"]);
    // The server's clock begins one day earlier.
    let new = Certificate::with(&["new.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2023, 11, 15);
    });
    let (server, directory) = serve(&[&old]);
    renew(&server.config.tls.certificates[0], &new);
    let name = directory.path().to_str().unwrap();
    watched(&server, "it is said", || {
        let said = log::lines(name);
        said.iter().any(|line| line.contains("is not valid before"))
    });
    assert!(shows(&server, &old, "old.test"));
    // The files do not change.
    server.advance(Duration::from_secs(24 * 60 * 60));
    watched(&server, "the new is in force", || {
        shows(&server, &new, "new.test")
    });
}

#[test]
fn a_reload_decides_which_files_are_checked() {
    let [old, new, newest] =
        ["old.test", "new.test", "newest.test"].map(|name| Certificate::of(&[name]));
    let (mut server, directory) = serve(&[&old]);
    server.config.tls.certificates = vec![new.write(directory.path(), "new")];
    let running = server.server.as_ref().unwrap();
    running.reload(&server.config).unwrap();
    renew(&server.config.tls.certificates[0], &newest);
    watched(&server, "the newest is in force", || {
        shows(&server, &newest, "newest.test")
    });
}
