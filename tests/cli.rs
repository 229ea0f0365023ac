//! The commands from a shell's view: exit codes, one line on stderr, and the bytes that they send.

#[path = "cli/engine.rs"]
mod engine;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

/// Bytes, because a variable need not be text.
type Variables<'a> = &'a [(&'a str, &'a [u8])];

/// Runs `idlewild` with `args`, `input` on stdin, and none of the caller's variables.
fn idlewild(args: &[&str], env: Variables<'_>, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_idlewild"))
        .args(args)
        .env_clear()
        .envs(
            env.iter()
                .map(|(name, value)| (name, OsStr::from_bytes(value))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The one line that a failing command prints, and its exit code.
fn failure(args: &[&str], env: Variables<'_>) -> (Option<i32>, String) {
    let output = idlewild(args, env, "");
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty(), "{args:?}: {:?}", output.stdout);
    assert!(line.starts_with("idlewild: "), "{args:?}: {line:?}");
    assert_eq!(line.matches('\n').count(), 1, "{args:?}: {line:?}");
    (output.status.code(), line)
}

#[test]
fn the_exit_code_is_the_same_if_nobody_can_read_the_errors() {
    let exit_code = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idlewild"));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = command.args(args).env_clear().stderr(full).status();
        ended.unwrap().code()
    };
    assert_eq!(exit_code(&["frobnicate"]), Some(2));
    assert_eq!(exit_code(&["serve", "--listen", "nowhere"]), Some(2));
    assert_eq!(exit_code(&["check", "--config", "/nowhere.toml"]), Some(2));
    let nobody = ["health", "--url", "http://127.0.0.1:9"];
    assert_eq!(exit_code(&nobody), Some(1));
}

#[test]
fn wrong_usage_and_a_refused_configuration_are_one_line_and_exit_code_2() {
    let publish = ["publish", "--all", "--data", "x", "--api-key", "k", "--url"];
    let cases: [(&[&str], Variables<'_>, &str); 15] = [
        (&["serve", "--nope"], &[], "'--nope'"),
        (&["serve", "--listn", "x"], &[], "'--listen'"),
        (&["frobnicate"], &[], "'frobnicate'"),
        (&["token"], &[], "--user <USER>"),
        (&["token", "--user", "4", "--ttl", "soon"], &[], "`soon`"),
        (&["publish", "--data", "x"], &[], "--topic <TOPIC>"),
        (&["publish", "--all", "--data", "x"], &[], "--api-key"),
        (
            &["publish", "--all", "--data", "x"],
            &[("IDLEWILD_ADMIN__API_KEY", b"")],
            "--api-key",
        ),
        (
            &[&publish[..], &["https://x:1"]].concat(),
            &[],
            "`https://x:1`",
        ),
        (&[&publish[..], &["http://x"]].concat(), &[], "has no port"),
        (
            &["user", "add", "--file", "/nonexistent/u", "--email", "a@b"],
            &[],
            "no password",
        ),
        (&["check"], &[], "auth.secret: is empty"),
        (
            &["upgrade"],
            &[("IDLEWILD_CONTROL", b"control.sock")],
            "control: `control.sock` does not begin with /",
        ),
        (
            &["check", "--dev"],
            &[("IDLEWILD_UPGRADE_TIMEOUT", b"1h")],
            "upgrade_timeout: 1h, write at most 10m",
        ),
        (
            &["check", "--dev"],
            &[("IDLEWILD_AUTH__AUDIENCE", b"\xff")],
            "IDLEWILD_AUTH__AUDIENCE: ",
        ),
    ];
    for (args, env, part) in cases {
        let (code, line) = failure(args, env);
        assert_eq!(code, Some(2), "{args:?}: {line}");
        assert!(line.contains(part), "{args:?}: {line}");
    }
}

#[test]
fn a_cause_is_printed_once() {
    let (code, line) = failure(&["check", "--config", "/nonexistent.toml"], &[]);
    assert_eq!(code, Some(2));
    assert_eq!(line.matches("No such file").count(), 1, "{line}");
}

#[test]
fn an_unreachable_server_is_exit_code_1() {
    let (code, line) = failure(
        &[
            "publish",
            "--all",
            "--data",
            "x",
            "--api-key",
            "k",
            "--url",
            "unix:/nonexistent",
        ],
        &[],
    );
    assert_eq!(code, Some(1));
    assert!(line.contains("unix:/nonexistent: No such file"), "{line}");
}

#[test]
fn an_upgrade_without_a_server_or_with_another_program_there_is_exit_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let path = path.to_str().unwrap();
    let upgrade = ["upgrade", "--control", path];
    let absent = failure(&upgrade, &[]);
    let listener = UnixListener::bind(path).unwrap();
    // What another program sends before it ends the connection.
    let serve = |line: &'static [u8]| {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(&stream)
                .read_line(&mut String::new())
                .unwrap();
            stream.write_all(line).unwrap();
        })
    };
    let serving = serve(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let other = failure(&upgrade, &[]);
    serving.join().unwrap();
    let serving = serve(b"");
    let ended = failure(&upgrade, &[]);
    serving.join().unwrap();
    // It ends without having read the request.
    let serving = thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || {
            let (stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            recv(&stream, &mut byte, RecvFlags::PEEK).unwrap();
        }
    });
    let unread = failure(&upgrade, &[]);
    serving.join().unwrap();
    // A process that another test starts has a copy until it executes its program.
    shutdown(&listener, Shutdown::Both).unwrap();
    drop(listener);
    let left = failure(&upgrade, &[]);
    for ((code, line), part) in [
        (absent, "no server listens there"),
        (other, "not a control socket"),
        (ended, "closed the connection without an answer"),
        (unread, "closed the connection without an answer"),
        (left, "no server listens there"),
    ] {
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains(path) && line.contains(part), "{line}");
    }
}

#[test]
fn the_progress_of_an_upgrade_is_on_stderr_and_its_report_on_stdout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let report = r#"{"pid":7,"version":"1.2.3","connections":15000,"lost":0,"took_ms":900,"longest_pause_ms":40}"#;
    let answer = format!(
        "{{\"progress\":\"starting\"}}\n{{\"progress\":\"moving\"}}\n{{\"done\":{report}}}\n"
    );
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    let args = ["upgrade", "--binary", "/next", "--control"];
    let output = idlewild(&[&args[..], &[path.to_str().unwrap()]].concat(), &[], "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{report}\n")
    );
    assert_eq!(output.stderr, b"starting\nmoving\n");
    let request = serving.join().unwrap();
    assert_eq!(request, "{\"command\":\"upgrade\",\"binary\":\"/next\"}\n");
}

#[test]
fn check_prints_every_key_and_no_secret() {
    let output = idlewild(
        &["check"],
        &[
            (
                "IDLEWILD_AUTH__SECRET",
                b"hunter2hunter2hunter2hunter2hunter2",
            ),
            ("IDLEWILD_ADMIN__API_KEY", b"hunter2hunter2hunter2"),
            ("IDLEWILD_ENGINE__URL", b"redis://me:hunter2/@cache:6379/0"),
            // Variables of other programs are ignored.
            ("LANG", b"\xff"),
        ],
        "",
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("ok\n") && !text.contains("hunter2"), "{text}");
    let table: toml::Table = text.parse().unwrap();
    let url = table["engine"]["url"].as_str();
    assert_eq!(url, Some("redis://<redacted>@cache:6379/0"));
    assert_eq!(table["heartbeat"].as_str(), Some("30s"));
}

/// The body that `publish` posts with `args` and `input`.
fn posted(args: &[&str], input: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(length) = line.strip_prefix("content-length: ") {
                body.resize(length.trim().parse().unwrap(), 0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut body).unwrap();
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 12\r\n\r\n{\"id\":\"1-0\"}";
        stream.write_all(answer).unwrap();
        String::from_utf8(body).unwrap()
    });
    let all = ["publish", "--all", "--api-key", "k", "--url", &url];
    let output = idlewild(&[&all[..], args].concat(), &[], input);
    // Checked first, because the fake server waits for a client.
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.stdout, b"{\"id\":\"1-0\"}\n");
    server.join().unwrap()
}

#[test]
fn published_data_is_sent_as_it_was_written() {
    let long = r#"{"b":1.10,"a":12345678901234567890123}"#;
    let cases: [(&[&str], &str, &str); 8] = [
        (&["--data", long], "", long),
        (&["--data", "1e400"], "", "1e400"),
        (&["--data", "-5"], "", "-5"),
        (&["--data", "hello"], "", "\"hello\""),
        (&["--data", "42", "--string"], "", "\"42\""),
        (&["--data", "-"], "two\nlines\n", r#""two\nlines""#),
        (&["--data", "-"], "[1]\r\n", "[1]"),
        (&["--data", "-", "--string"], "[1]\r\n", "\"[1]\""),
    ];
    for (args, input, data) in cases {
        let expected = format!(r#"{{"to":{{"all":true}},"data":{data},"persist":true}}"#);
        assert_eq!(posted(args, input), expected, "{args:?}");
    }
    let args = [
        "--event",
        "note",
        "--id",
        "order-1",
        "--no-persist",
        "--data",
        "1",
    ];
    let expected = r#"{"to":{"all":true},"event":"note","data":1,"id":"order-1","persist":false}"#;
    assert_eq!(posted(&args, ""), expected);
}

#[test]
fn every_error_of_the_configuration_has_its_line() {
    let env: Variables<'_> = &[
        ("IDLEWILD_MAX_HANDSHAKES", b"0"),
        ("IDLEWILD_HEARTBEAT", b"soon"),
        ("IDLEWILD_AUTH__SECRET", b"short"),
    ];
    for command in ["check", "serve"] {
        let output = idlewild(&[command], env, "");
        assert_eq!(output.status.code(), Some(2), "{command}");
        let lines = String::from_utf8(output.stderr).unwrap();
        assert_eq!(lines.lines().count(), 3, "{command}: {lines}");
        for key in ["max_handshakes", "heartbeat", "auth.secret"] {
            let begins = format!("idlewild: {key}: ");
            assert!(
                lines
                    .lines()
                    .any(|line| line.starts_with(&begins) && line.contains("[from IDLEWILD_")),
                "{command}: {key} in {lines}"
            );
        }
    }
}

#[test]
fn errors_in_all_files_of_a_configuration_are_reported_together() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (key, users) = (file("key.pem", "no key"), file("users.toml", "users"));
    let certificate = file("certificate.pem", "no certificate");
    let text = format!(
        "auth.public_keys = [\"{key}\"]\nlogin.users_file = \"{users}\"\n\
         tls.certificates = [{{ cert = \"{certificate}\", key = \"{key}\" }}]\n\
         max_connections = 1000000000"
    );
    let config = file("idlewild.toml", &text);
    let secret = ("IDLEWILD_AUTH__SECRET", &b"x".repeat(32)[..]);
    for command in ["check", "serve"] {
        let output = idlewild(&[command, "--config", &config], &[secret], "");
        assert_eq!(output.status.code(), Some(2), "{command}");
        let lines = String::from_utf8(output.stderr).unwrap();
        let begins = [
            "max_connections",
            "auth.public_keys",
            "tls.certificates[0]",
            "login.users_file",
        ];
        for key in begins {
            let begin = format!("idlewild: {key}: ");
            assert!(
                lines.lines().any(|line| line.starts_with(&begin)),
                "{command}: {key} in {lines}"
            );
        }
        assert_eq!(lines.lines().count(), begins.len(), "{command}: {lines}");
    }
}

#[test]
fn a_file_can_hold_the_api_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "a key in a file\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream).lines();
        let mut head = lines.map_while(Result::ok);
        head.find_map(|line| line.strip_prefix("authorization: ").map(ToOwned::to_owned))
    });
    let file = file.to_str().unwrap();
    let to = ["publish", "--all", "--data", "x", "--api-key-file", file];
    // The server answers nothing.
    idlewild(&[&to[..], &["--url", &url]].concat(), &[], "");
    assert_eq!(
        server.join().unwrap().as_deref(),
        Some("Bearer a key in a file")
    );

    let (code, line) = failure(&[&to[..5], &["/nonexistent"]].concat(), &[]);
    assert_eq!(code, Some(2));
    assert!(
        line.contains("--api-key-file: /nonexistent: No such file"),
        "{line}"
    );
    let (code, _) = failure(&[&to[..], &["--api-key", "k"]].concat(), &[]);
    assert_eq!(code, Some(2));
}

#[test]
fn users_are_listed_get_a_new_password_and_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.toml");
    let file = file.to_str().unwrap();
    let user = |command: &[&str], input: &str| {
        let output = idlewild(
            &[&["user"], command, &["--file", file]].concat(),
            &[],
            input,
        );
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for email in ["ann@example.com", "bob@example.com"] {
        let (code, text) = user(&["add", "--email", email], "password");
        assert_eq!(code, Some(0), "{text}");
    }
    let both = "1\tann@example.com\n2\tbob@example.com\n";
    assert_eq!(user(&["list"], ""), (Some(0), both.to_owned()));
    let before = std::fs::read_to_string(file).unwrap();
    let (code, text) = user(&["passwd", "--email", "Bob@example.com"], "another\n");
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "Bob@example.com (id 2) has a new password\n")
    );
    let after = std::fs::read_to_string(file).unwrap();
    let changed = before.lines().zip(after.lines()).filter(|(a, b)| a != b);
    assert!(
        changed.map(|(line, _)| line).eq(before
            .lines()
            .filter(|line| line.starts_with("hash"))
            .skip(1))
    );
    assert_eq!(
        user(&["passwd", "--email", "bob@example.com"], "").0,
        Some(2)
    );
    let (code, text) = user(&["remove", "--email", "ann@example.com"], "");
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "ann@example.com (id 1) is removed\n")
    );
    assert_eq!(
        user(&["list"], ""),
        (Some(0), "2\tbob@example.com\n".to_owned())
    );
    let (code, text) = user(&["remove", "--email", "ann@example.com"], "");
    assert!(
        code == Some(1) && text.contains("no user has the email"),
        "{text}"
    );
}

#[test]
fn the_version_has_the_commit_that_the_build_was_given() {
    let output = idlewild(&["--version"], &[], "");
    let commit = option_env!("BUILD_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
    let version = env!("CARGO_PKG_VERSION");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("idlewild {version}{commit}\n"));
}

/// The manual pages and completions that `idlewild` makes, by their names in `deploy/`.
fn generated() -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let made = idlewild(&["man", directory.path().to_str().unwrap()], &[], "");
    assert!(made.status.success(), "{made:?}");
    let mut files: BTreeMap<_, _> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = format!("man/{}", entry.file_name().to_str().unwrap());
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    for (shell, name) in [
        ("bash", "idlewild.bash"),
        ("fish", "idlewild.fish"),
        ("zsh", "_idlewild"),
    ] {
        let made = idlewild(&["completions", shell], &[], "");
        let script = String::from_utf8(made.stdout).unwrap();
        files.insert(format!("completions/{name}"), script);
    }
    files
}

/// `UPDATE_DOCS=1` writes them.
#[test]
fn the_manual_pages_and_completions_in_deploy_are_those_of_this_command_line() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let generated = generated();
    for page in ["idlewild.1", "idlewild-serve.1", "idlewild-user-passwd.1"] {
        assert!(generated.contains_key(&format!("man/{page}")), "{page}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for folder in ["man", "completions"] {
            let folder = deploy.join(folder);
            // Pages of commands that no longer exist.
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir(&folder).unwrap();
        }
        for (name, text) in &generated {
            std::fs::write(deploy.join(name), text).unwrap();
        }
    }
    let mut names = Vec::new();
    for folder in ["man", "completions"] {
        for entry in std::fs::read_dir(deploy.join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            names.push(format!("{folder}/{}", name.to_str().unwrap()));
        }
    }
    names.sort();
    let hint = "run UPDATE_DOCS=1 cargo test --test cli";
    assert!(names.iter().eq(generated.keys()), "{names:?}; {hint}");
    for (name, text) in &generated {
        let shipped = std::fs::read_to_string(deploy.join(name)).unwrap();
        assert_eq!(&shipped, text, "{name}; {hint}");
    }
}
