//! Development mode (`--dev`).

use crate::support::process::{Process, command, config, idlewild};
use crate::support::{Answer, BASE, SECRET, request};

const BODY: &str = r#"{"email": "user@example.com", "password": "password"}"#;

fn serve(args: &[&str], env: &[(&str, &str)]) -> Process {
    let directory = tempfile::tempdir().unwrap();
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
