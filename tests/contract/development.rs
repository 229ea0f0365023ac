//! Development mode (`--dev`).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::support::process::{Process, command, config, idlewild};
use crate::support::{API_KEY, Answer, BASE, Client, NOTIFICATIONS, SECRET, request};

const BODY: &str = r#"{"email": "user@example.com", "password": "password"}"#;

fn serve(args: &[&str], env: &[(&str, &str)]) -> Process {
    serve_in(tempfile::tempdir().unwrap(), args, env)
}

fn serve_in(directory: TempDir, args: &[&str], env: &[(&str, &str)]) -> Process {
    let mut command = command();
    command
        .args(["serve", "--dev"])
        .args(args)
        .envs(env.iter().copied());
    Process::start(command, directory)
}

fn log_in(process: &Process) -> Answer {
    let path = format!("{BASE}/login/");
    request(process.plain(), "POST", &path, &[], BODY)
}

const LOCAL: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

#[test]
fn the_well_known_password_does_not_work_with_a_configured_secret() {
    let process = serve(&LOCAL, &[]);
    assert_eq!(log_in(&process).status, 200);
    let process = serve(&LOCAL, &[("IDLEWILD_AUTH__SECRET", SECRET)]);
    assert_eq!(log_in(&process).status, 404);
    assert!(
        process.log().contains("no development user"),
        "{}",
        process.log()
    );

    let directory = crate::support::process::directory(&config(""));
    let file = directory.path().join("idlewild.toml");
    let process = serve(&["--config", file.to_str().unwrap()], &[]);
    assert_eq!(log_in(&process).status, 404);
}

#[test]
fn other_machines_can_connect_only_with_dev_anywhere() {
    for args in [
        ["--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0", "--admin-listen", "[::]:0"],
    ] {
        let ended = idlewild(&[&["serve", "--dev"], &args[..]].concat(), &[], "");
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("--dev-anywhere"), "{}", ended.stderr);
        let process = serve(&[&args[..], &["--dev-anywhere"]].concat(), &[]);
        let log = process.log();
        assert!(
            log.contains("WARN") && log.contains("other machines can connect"),
            "{log}"
        );
    }
    let ended = idlewild(&["serve", "--dev-anywhere"], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

/// The rest of the line that `--dev` prints with this beginning.
fn printed(process: &Process, begin: &str) -> String {
    let log = process.log();
    let line = log.lines().find_map(|line| line.strip_prefix(begin));
    line.unwrap_or_else(|| panic!("{begin}: {log}")).to_owned()
}

#[test]
fn the_pages_the_login_and_the_key_are_printed() {
    let process = serve(&LOCAL, &[]);
    let (public, admin) = (process.plain(), process.admin());
    let demo = printed(&process, "idlewild: demo page: ");
    assert_eq!(demo, format!("http://{}/", public.tcp));
    assert_eq!(request(public, "GET", "/", &[], "").status, 200);
    let dashboard = printed(&process, "idlewild: dashboard: ");
    assert_eq!(dashboard, format!("http://{admin}/"));
    assert_eq!(request(admin, "GET", "/", &[], "").status, 200);
    let login = printed(&process, "idlewild: login: ");
    assert_eq!(login, "user@example.com with the password `password`");
    let key = printed(&process, "idlewild: development API key: ");
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", bearer.as_str())];
    assert_eq!(request(admin, "GET", "/v1/stats", &headers, "").status, 200);
}

#[test]
fn the_printed_call_publishes() {
    let process = serve(&LOCAL, &[]);
    let access = log_in(&process).json()["access"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{NOTIFICATIONS}?token={access}");
    let mut stream = Client::connect(process.plain()).open(&path);
    stream.begin();
    let call = format!("curl {}", printed(&process, "curl "));
    let ran = std::process::Command::new("sh")
        .args(["-c", &call])
        .output();
    let ran = ran.unwrap();
    let response = String::from_utf8(ran.stdout).unwrap();
    assert!(response.contains("\"id\""), "{call}: {response}");
    assert!(stream.next().unwrap().contains("Hello"));
}

#[test]
fn a_configured_key_is_not_printed_and_nothing_is_kept() {
    let directory = crate::support::process::directory(&config(""));
    let file = directory.path().join("idlewild.toml");
    let process = serve_in(directory, &["--config", file.to_str().unwrap()], &[]);
    assert!(!process.log().contains(API_KEY), "{}", process.log());
    assert!(printed(&process, "curl ").contains("$IDLEWILD_API_KEY"));
    assert!(!process.directory.path().join(".idlewild-dev").exists());
}

#[test]
fn secrets_stay_the_same_in_a_directory() {
    let project = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = command();
        command.args(["serve", "--dev"]).args(LOCAL);
        Process::start_in(command, project.path(), tempfile::tempdir().unwrap())
    };
    let key = |process: &Process| printed(process, "idlewild: development API key: ");
    let first = start();
    let (token, first_key) = (log_in(&first).json()["access"].clone(), key(&first));
    drop(first);
    let second = start();
    assert_eq!(key(&second), first_key);
    let path = format!("{NOTIFICATIONS}?token={}", token.as_str().unwrap());
    assert_eq!(Client::connect(second.plain()).open(&path).status, 200);

    let kept = project.path().join(".idlewild-dev");
    let mode = fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(fs::read_to_string(kept.join(".gitignore")).unwrap(), "*\n");
    let file = fs::read_to_string(kept.join("api-key")).unwrap();
    assert_eq!(file.trim(), first_key);
    // Another directory has other secrets.
    assert_ne!(key(&serve(&LOCAL, &[])), first_key);
}

#[test]
fn a_directory_that_cannot_be_used_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".idlewild-dev"), "a file").unwrap();
    let process = serve_in(directory, &LOCAL, &[]);
    assert!(
        process.log().contains("idlewild: .idlewild-dev: "),
        "{}",
        process.log()
    );
    assert_eq!(log_in(&process).status, 200);
}
