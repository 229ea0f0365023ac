//! Certificates with which a server does not start, and the error messages.

use std::fs;
use std::path::Path;

use rcgen::date_time_ymd;

use crate::support::certificate::Certificate;
use crate::support::process::{config, idlewild};

/// The error that `serve` and `check` both report for `cert.pem` and `cert.key.pem`, after valid ones.
fn refusal(directory: &Path) -> String {
    let good = Certificate::of(&["good.test"]).write(directory, "good");
    let entry = |cert: &Path, key: &Path| {
        format!(
            "[[tls.certificates]]\ncert = \"{}\"\nkey = \"{}\"\n",
            cert.display(),
            key.display()
        )
    };
    let file = directory.join("idlewild.toml");
    let text = format!(
        "{}[tls]\nlisten = [\"127.0.0.1:0\"]\n{}{}",
        config(""),
        entry(&good.cert, &good.key),
        entry(&directory.join("cert.pem"), &directory.join("cert.key.pem"))
    );
    fs::write(&file, text).unwrap();
    // `check` comes first, because a server that accepts the files would run forever.
    let [check, serve] = ["check", "serve"].map(|command| {
        let ended = idlewild(&[command, "--config", file.to_str().unwrap()], &[], "");
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        ended.stderr
    });
    assert_eq!(serve, check);
    serve
}

/// Checks the error for these two files, without the directory's name.
#[track_caller]
fn assert_refused(certificate: &Certificate, spoil: impl FnOnce(&Path, &Path), said: &str) {
    let directory = tempfile::tempdir().unwrap();
    let files = certificate.write(directory.path(), "cert");
    spoil(&files.cert, &files.key);
    let refusal = refusal(directory.path());
    let name = format!("{}/", directory.path().display());
    assert_eq!(refusal.replace(&name, ""), format!("idlewild: {said}\n"));
}

fn good() -> Certificate {
    Certificate::of(&["localhost"])
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let other = good();
    assert_refused(
        &good(),
        |_, key| fs::write(key, &other.key_pem).unwrap(),
        "tls.certificates[1]: cert.key.pem is not the key of cert.pem (name the two files that were issued together)",
    );
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    let expired = Certificate::with(&["localhost"], |params| {
        params.not_after = date_time_ymd(2024, 2, 29);
    });
    assert_refused(
        &expired,
        |_, _| {},
        "tls.certificates[1]: cert.pem: has expired at 2024-02-29T00:00:00Z (renew it)",
    );
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_refused() {
    let future = Certificate::with(&["localhost"], |params| {
        params.not_before = date_time_ymd(2999, 1, 1);
    });
    assert_refused(
        &future,
        |_, _| {},
        "tls.certificates[1]: cert.pem: is not valid before 2999-01-01T00:00:00Z (is the clock right?)",
    );
}

#[test]
fn an_empty_file_is_refused() {
    assert_refused(
        &good(),
        |cert, _| fs::write(cert, "").unwrap(),
        "tls.certificates[1]: cert.pem: holds no certificate (name a PEM file of the chain)",
    );
    assert_refused(
        &good(),
        |_, key| fs::write(key, "").unwrap(),
        "tls.certificates[1]: cert.key.pem: holds no private key (name a PEM file of the private key, without a passphrase)",
    );
}

#[test]
fn a_missing_file_is_refused() {
    assert_refused(
        &good(),
        |cert, _| fs::remove_file(cert).unwrap(),
        "tls.certificates[1].cert: `cert.pem` cannot be read: No such file or directory (os error 2) (name a readable file) [from idlewild.toml, line 14]",
    );
    assert_refused(
        &good(),
        |_, key| fs::remove_file(key).unwrap(),
        "tls.certificates[1].key: `cert.key.pem` cannot be read: No such file or directory (os error 2) (name a readable file) [from idlewild.toml, line 15]",
    );
}

#[test]
fn swapped_files_are_refused() {
    let one = good();
    assert_refused(
        &one,
        |cert, key| {
            fs::write(cert, &one.key_pem).unwrap();
            fs::write(key, &one.cert_pem).unwrap();
        },
        "tls.certificates[1]: cert.pem: holds no certificate (name a PEM file of the chain)",
    );
}

#[test]
fn a_file_without_a_certificate_is_refused() {
    assert_refused(
        &good(),
        |cert, _| {
            let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            fs::write(cert, pem).unwrap();
        },
        "tls.certificates[1]: cert.pem: is not a certificate (the first in the file has to be the server's own)",
    );
}

#[test]
fn a_truncated_file_is_refused() {
    let one = good();
    assert_refused(
        &one,
        |cert, _| fs::write(cert, &one.cert_pem[..one.cert_pem.len() / 2]).unwrap(),
        "tls.certificates[1]: cert.pem: is cut off before `-----END CERTIFICATE-----` (name a PEM file of the chain, the server's own certificate first)",
    );
    assert_refused(
        &one,
        |_, key| fs::write(key, &one.key_pem[..one.key_pem.len() / 2]).unwrap(),
        "tls.certificates[1]: cert.key.pem: is cut off before `-----END PRIVATE KEY-----` (name a PEM file of the private key, without a passphrase)",
    );
}
