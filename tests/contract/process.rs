//! The process: errors at start, signals, exit codes, logs, and the other commands.

use std::fs;

use rustix::process::Signal;

use crate::support::process::{Process, config, idlewild, own_address, token_signed_with};
use crate::support::{
    API_KEY, BASE, Client, NOTIFICATIONS, SECRET, engine_kind, eventually, is_redis, request,
};

fn token(user: &str) -> String {
    token_signed_with(SECRET, user)
}

fn status(process: &Process, token: &str) -> u16 {
    let path = format!("{NOTIFICATIONS}?token={token}");
    Client::connect(process.public()).open(&path).status
}

#[test]
fn an_invalid_configuration_is_one_line_and_exit_code_2() {
    let refused = [
        (vec!["serve"], "auth.secret"),
        (vec!["serve", "--dev", "--listen", "nonsense"], "listen"),
        (
            vec!["serve", "--dev", "--max-connections", "10000000"],
            "max_connections",
        ),
        (
            vec!["serve", "--config", "/nowhere/idlewild.toml"],
            "/nowhere/idlewild.toml",
        ),
        (vec!["check"], "auth.secret"),
        (vec!["token", "--user", "1"], "auth.secret"),
    ];
    for (args, named) in refused {
        let ended = idlewild(&args, &[], "");
        let lines: Vec<&str> = ended
            .stderr
            .lines()
            .filter(|line| !line.contains("development API key"))
            .collect();
        assert_eq!(
            (ended.code, lines.len()),
            (Some(2), 1),
            "{args:?}: {lines:?}"
        );
        assert!(lines[0].contains(named), "{args:?}: {lines:?}");
    }
    for key in [
        "short",
        "fifteen bytes..",
        "of sixteen bytes\u{fc}",
        "sixteen\nbytes...",
    ] {
        let ended = idlewild(&["serve", "--dev"], &[("IDLEWILD_API_KEY", key)], "");
        assert_eq!(ended.code, Some(2), "{key:?}");
        assert!(ended.stderr.contains("admin.api_key: "), "{}", ended.stderr);
        assert!(!ended.stderr.contains(key), "{}", ended.stderr);
    }
}

/// Variables that Kubernetes sets for a service of this name, and one with a typo.
#[test]
fn unknown_variables_cause_a_warning_only() {
    let env = [
        ("IDLEWILD_SERVICE_HOST", "10.0.0.1"),
        ("IDLEWILD_SERVICE_PORT", "8000"),
        ("IDLEWILD_PORT", "tcp://10.0.0.1:8000"),
        ("IDLEWILD_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("IDLEWILD_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("IDLEWILD_AUTH", "a table, and so no key"),
        ("IDLEWILD_MAX_CONECTIONS", "a value that stays unsaid"),
    ];
    let process = Process::serve_with(&config(""), &env);
    assert_eq!(status(&process, &token("1")), 200);
    let mut log = String::new();
    eventually("both are warned of", || {
        log = process.log();
        log.contains("IDLEWILD_MAX_CONECTIONS") && log.contains("enableServiceLinks")
    });
    assert!(
        log.contains("the nearest is IDLEWILD_MAX_CONNECTIONS"),
        "{log}"
    );
    assert_eq!(log.matches("enableServiceLinks").count(), 1, "{log}");
    assert!(
        !log.contains("unsaid") && !log.contains("10.0.0.1"),
        "{log}"
    );
}

#[test]
fn an_api_key_may_come_from_the_short_variable_and_end_with_a_line_feed() {
    let file = config("").replace(&format!("api_key = \"{API_KEY}\"\n"), "");
    let names = ["IDLEWILD_API_KEY", "IDLEWILD_ADMIN__API_KEY"];
    for (variable, other) in [(names[0], names[1]), (names[1], names[0])] {
        let key = format!("  {API_KEY}\r\n");
        // The other variable is empty, as a compose file may leave it.
        let variables = [(variable, key.as_str()), (other, "")];
        let process = Process::serve_with(&file, &variables);
        publish(&process, r#"{"to": {"all": true}, "data": 1}"#);
        let url = format!("http://{}", process.admin());
        let args = ["publish", "--all", "--data", "x", "--url", &url];
        let ended = idlewild(&args, &variables, "");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn sigusr1_and_sigusr2_do_not_end_the_process() {
    let mut process = Process::serve("");
    // A new process would take over, and this one end.
    fs::write(process.config_file(), "invalid").unwrap();
    process.signal(Signal::USR1);
    process.signal(Signal::USR2);
    eventually("both are taken", || {
        let log = process.log();
        log.contains("SIGUSR1") && log.contains("not upgraded")
    });
    assert_eq!(status(&process, &token("1")), 200);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn an_address_that_is_in_use_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = idlewild(&["serve", "--dev", "--listen", &address], &[], "");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

fn serve_at(public: &str, admin: &str) -> String {
    config("shards = 3")
        .replace(
            "admin_listen = [\"127.0.0.1:0\"]",
            &format!("admin_listen = [\"{admin}\"]"),
        )
        .replacen(
            "listen = [\"127.0.0.1:0\"]",
            &format!("listen = [\"{public}\"]"),
            1,
        )
}

fn refusal(config: &str) -> String {
    let directory = crate::support::process::directory(config);
    let file = directory.path().join("idlewild.toml");
    let ended = idlewild(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_second_server_does_not_share_the_addresses_of_the_first() {
    let own = own_address().to_string();
    let mut first = Process::serve_config(&serve_at(&own, &own));
    let (public, admin) = (first.plain(), first.admin());
    let everywhere = format!("0.0.0.0:{}", public.tcp.port());
    for (listen, admin_listen, named) in [
        (
            public.to_string(),
            "127.0.0.1:0".to_owned(),
            public.to_string(),
        ),
        (everywhere.clone(), "127.0.0.1:0".to_owned(), everywhere),
        (
            "127.0.0.1:0".to_owned(),
            admin.to_string(),
            admin.to_string(),
        ),
        // Its public listener must not accept connections of the other's publishers either.
        (
            admin.to_string(),
            "127.0.0.1:0".to_owned(),
            admin.to_string(),
        ),
    ] {
        let said = refusal(&serve_at(&listen, &admin_listen));
        assert!(said.contains(&named), "{said}");
        assert!(said.contains("another process listens there"), "{said}");
    }
    assert_eq!(request(public, "GET", "/healthz", &[], "").status, 200);

    // Old connections of a server that has ended do not keep the address in use.
    let mut streams: Vec<_> = (0..5)
        .map(|_| Client::connect(public).open(&format!("{NOTIFICATIONS}?token={}", token("1"))))
        .collect();
    first.signal(Signal::TERM);
    assert_eq!(first.wait_with(&mut streams).code(), Some(0));
    let next = Process::serve_config(&serve_at(&public.to_string(), &admin.to_string()));
    assert_eq!((next.plain(), next.admin()), (public, admin));
    drop(streams);
    // All shards of the new server accept.
    for _ in 0..32 {
        assert_eq!(request(public, "GET", "/healthz", &[], "").status, 200);
    }
    drop(next);
    // The server is killed while connections are open.
    let _again = Process::serve_config(&serve_at(&public.to_string(), &admin.to_string()));
}

#[test]
fn of_two_servers_that_start_at_once_one_fails() {
    let free = std::net::TcpListener::bind(own_address()).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let options = idlewild::net::SocketOptions {
        send_buffer: 0,
        user_timeout: std::time::Duration::from_secs(30),
    };
    let endpoint = idlewild::config::Endpoint::Tcp(address);
    for _ in 0..50 {
        let barrier = std::sync::Barrier::new(2);
        let bind = || {
            barrier.wait();
            let bound = idlewild::net::bind(&endpoint, 4, options);
            // Both have tried before one of them releases the address.
            barrier.wait();
            bound.is_ok()
        };
        let bound = std::thread::scope(|scope| {
            let other = scope.spawn(bind);
            [bind(), other.join().unwrap()]
        });
        assert!(!(bound[0] && bound[1]), "both serve one address");
    }
}

#[test]
fn sigterm_ends_streams_cleanly_and_exits_with_0() {
    let mut process = Process::serve("");
    let path = format!("{NOTIFICATIONS}?token={}", token("42"));
    let mut stream = Client::connect(process.public()).open(&path);
    stream.begin();
    process.signal(Signal::TERM);
    assert!(stream.next().unwrap().starts_with("retry: "));
    assert_eq!(stream.next(), None);
    assert!(stream.is_complete);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_drain() {
    let mut process = Process::serve("drain_rate = 1\ndrain_timeout = \"24h\"\nshards = 1");
    let tokens: Vec<String> = (0..8).map(|user| token(&user.to_string())).collect();
    let streams: Vec<_> = tokens
        .iter()
        .map(|token| {
            Client::connect(process.public()).open(&format!("{NOTIFICATIONS}?token={token}"))
        })
        .collect();
    process.signal(Signal::INT);
    eventually("it drains", || process.log().contains("draining"));
    process.signal(Signal::TERM);
    process.wait();
    assert!(process.log().contains("second signal"), "{}", process.log());
    drop(streams);
}

#[test]
fn sighup_reloads_secrets_and_keeps_streams() {
    let process = Process::serve("");
    let (old, new_secret) = (token("1"), "another secret of more than thirty-two bytes");
    let path = format!("{NOTIFICATIONS}?token={old}");
    let mut stream = Client::connect(process.public()).open(&path);
    stream.next().unwrap();
    let changed = config("max_connections_per_user = 1").replace(SECRET, new_secret);
    fs::write(process.config_file(), changed).unwrap();
    process.signal(Signal::HUP);
    eventually("it is reloaded", || process.log().contains("reloaded"));
    assert_eq!(status(&process, &old), 401);
    let new = token_signed_with(new_secret, "2");
    let first = Client::connect(process.public()).open(&format!("{NOTIFICATIONS}?token={new}"));
    assert_eq!(first.status, 200);
    assert_eq!(status(&process, &new), 429);
    let event = r#"{"to": {"user": "1"}, "data": "still here"}"#;
    publish(&process, event);
    assert!(stream.next().unwrap().contains("still here"));
    assert_eq!(reloads(&process), ["applied 1", "refused 0"]);
}

/// The outcomes of reloads, with their numbers.
fn reloads(process: &Process) -> Vec<String> {
    let page = request(process.admin(), "GET", "/metrics", &[], "").body;
    let lines = page.lines();
    lines
        .filter_map(|line| line.strip_prefix("idlewild_reloads_total{outcome=\""))
        .map(|line| line.replace("\"}", ""))
        .collect()
}

#[test]
fn an_invalid_configuration_at_sighup_changes_nothing() {
    let process = Process::serve("");
    fs::write(process.config_file(), "listen = 7\nheartbeat = 7").unwrap();
    process.signal(Signal::HUP);
    eventually("it is refused", || process.log().contains("not reloaded"));
    assert!(process.log().contains("listen"));
    // One line per error; without the file, the secret is missing as well.
    eventually("each error is", || {
        process.log().matches("not reloaded").count() == 3
    });
    assert!(process.log().contains("heartbeat"));
    assert_eq!(status(&process, &token("1")), 200);
    assert_eq!(reloads(&process), ["applied 0", "refused 1"]);
}

#[test]
fn addresses_in_the_log_are_plain() {
    let process = Process::serve("log_level = \"debug\"");
    assert_eq!(status(&process, "bad"), 401);
    for line in ["not authenticated", "stream refused"] {
        let log = process.log();
        let line = log.lines().find(|shown| shown.contains(line)).expect(line);
        assert!(
            line.contains("remote=127.0.0.1") || line.contains("peer=127.0.0.1"),
            "{line}"
        );
    }
    assert!(!process.log().contains("Some("), "{}", process.log());
}

#[test]
fn refusals_are_logged_once_per_reason() {
    let process = Process::serve("");
    let expired = {
        let claims = serde_json::json!({"user_id": 1, "exp": 1_700_000_000});
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let bad = format!("{}x", token("1"));
    let logged_out = token("2");
    let key = [("Authorization", &*format!("Bearer {API_KEY}"))];
    request(process.admin(), "POST", "/v1/users/2/logout", &key, "{}");
    for _ in 0..3 {
        for query in [
            format!("?token={expired}"),
            format!("?token={bad}"),
            format!("?token={logged_out}"),
            "?ticket=unknown".to_owned(),
            String::new(),
        ] {
            let client = Client::connect(process.public());
            assert_eq!(
                client.open(&format!("{NOTIFICATIONS}{query}")).status,
                401,
                "{query}"
            );
        }
    }
    let log = process.log();
    for (reason, credential) in [
        ("expired", "query_token"),
        ("bad_signature", "query_token"),
        ("session_ended", "query_token"),
        ("ticket_used_unknown_or_late", "ticket"),
        ("no_credential", "none"),
    ] {
        let reason = format!("reason=\"{reason}\" credential=\"{credential}\"");
        let lines = log.lines().filter(|line| line.contains(&reason));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), 1, "{reason} in\n{log}");
        for said in ["INFO", "not authenticated", "127.0.0.1"] {
            assert!(lines[0].contains(said), "{said} in {}", lines[0]);
        }
    }
    for secret in [&expired, &bad, &logged_out] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}

#[test]
fn a_line_feed_after_a_secret_or_key_in_a_variable_is_ignored() {
    let config = "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]\n";
    let secret = format!("{SECRET}\n");
    let key = format!("{API_KEY}\n");
    let env = [
        ("IDLEWILD_AUTH__SECRET", secret.as_str()),
        ("IDLEWILD_ADMIN__API_KEY", key.as_str()),
    ];
    let process = Process::serve_with(config, &env);
    assert_eq!(status(&process, &token("1")), 200);
    publish(&process, r#"{"to": {"all": true}, "data": 1}"#);
    let url = format!("http://{}", process.admin());
    let ended = idlewild(
        &["publish", "--all", "--data", "1", "--url", &url],
        &env[1..],
        "",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn the_log_contains_no_token_cookie_key_or_query() {
    for format in ["json", "text"] {
        let log = log_of_secrets(format);
        for line in log.lines().filter(|_| format == "json") {
            let line: serde_json::Value = serde_json::from_str(line).expect("one object a line");
            for field in ["timestamp", "level", "target", "message"] {
                assert!(line[field].is_string(), "{field} in {line}");
            }
        }
    }
}

/// Returns the log of a server that has received secrets of every kind. The log contains none of them.
fn log_of_secrets(format: &str) -> String {
    let logging = format!("log_level = \"trace\"\nlog_format = \"{format}\"");
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    let users = users.to_str().unwrap();
    let add = ["user", "add", "--file", users, "--email", "ann@example.com"];
    assert_eq!(idlewild(&add, &[], "password of ann\n").code, Some(0));
    let mut process = Process::serve_config(&format!(
        "{}[login]\nusers_file = \"{users}\"\n",
        config(&logging)
    ));
    let secrets = [
        token("1"),
        token("2"),
        token("3"),
        "an-unknown-ticket".to_owned(),
    ];
    let [header, query, cookie, ticket] = &secrets;
    let public = process.public();
    let admin = process.admin();
    let get = |path: &str, field: &str, value: &str| {
        let mut client = Client::connect(public);
        client.get(path, &format!("{field}: {value}\r\n"));
        client.stream().status
    };
    assert_eq!(
        get(NOTIFICATIONS, "Authorization", &format!("Bearer {header}")),
        200
    );
    assert_eq!(
        get(NOTIFICATIONS, "Authorization", &format!("Bearer x{header}")),
        401
    );
    assert_eq!(
        get(NOTIFICATIONS, "Cookie", &format!("access_token={cookie}")),
        200
    );
    assert_eq!(
        get(&format!("{NOTIFICATIONS}?token={query}"), "X", "y"),
        200
    );
    assert_eq!(
        get(&format!("{NOTIFICATIONS}?ticket={ticket}"), "X", "y"),
        401
    );
    let key = format!("Bearer {API_KEY}");
    request(
        admin,
        "GET",
        "/v1/stats?secret=query",
        &[("Authorization", &key)],
        "",
    );
    let wrong = [("Authorization", "Bearer no-such-key")];
    let event = r#"{"to": {"all": true}, "data": "what is published"}"#;
    request(admin, "POST", "/v1/events?secret=query", &wrong, event);
    publish(&process, event);
    for password in ["password of ann", "wrong password"] {
        let body = format!(r#"{{"email": "ann@example.com", "password": "{password}"}}"#);
        request(
            public,
            "POST",
            &format!("{BASE}/login/?secret=query"),
            &[],
            &body,
        );
    }
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
    let log = process.log();
    // The log contains what an operator has to know.
    let refused = log
        .lines()
        .find(|line| line.contains("admin request refused"));
    let refused = refused.expect("the wrong key");
    for said in ["401", "POST", "/v1/events", "127.0.0.1:"] {
        assert!(refused.contains(said), "{said} in {refused}");
    }
    for secret in secrets
        .iter()
        .map(String::as_str)
        .chain([API_KEY, SECRET, "secret=query", "no-such-key"])
        .chain(["what is published", "password of ann", "wrong password"])
    {
        assert!(!log.contains(secret), "{secret} stands in {log}");
    }
    log
}

#[test]
fn check_prints_the_configuration_without_its_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("idlewild.toml");
    fs::write(&file, config("heartbeat = \"7s\"")).unwrap();
    let ended = idlewild(&["check", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("heartbeat = \"7s\""));
    assert!(!ended.stdout.contains(SECRET) && !ended.stdout.contains(API_KEY));
}

#[test]
fn an_added_user_logs_in_and_receives_what_the_command_publishes() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    let users = users.to_str().unwrap();
    let add = [
        "user",
        "add",
        "--file",
        users,
        "--email",
        "ann@example.com",
        "--id",
        "ann",
    ];
    let ended = idlewild(&add, &[], "correct horse\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(idlewild(&add, &[], "again\n").code, Some(1));
    let process = Process::serve_config(&format!(
        "{}[login]\nusers_file = \"{users}\"\n",
        config("")
    ));
    let body = r#"{"email": "Ann@Example.com", "password": "correct horse"}"#;
    let login = request(
        process.public(),
        "POST",
        &format!("{BASE}/login/"),
        &[],
        body,
    );
    assert_eq!(login.status, 200, "{}", login.body);
    assert_eq!(login.json()["user"]["id"], "ann");
    let access = login.json()["access"].as_str().unwrap().to_owned();
    let mut stream =
        Client::connect(process.public()).open(&format!("{NOTIFICATIONS}?token={access}"));
    stream.next().unwrap();
    let url = format!("http://{}", process.admin());
    let publish = [
        "publish",
        "--user",
        "ann",
        "--event",
        "news",
        "--data",
        "{\"n\": 1}",
        "--url",
        &url,
    ];
    let ended = idlewild(&publish, &[("IDLEWILD_ADMIN__API_KEY", API_KEY)], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let id = serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap()["id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: news\ndata: {{\"n\":1}}\n\n")
    );
    let ended = idlewild(&publish, &[("IDLEWILD_ADMIN__API_KEY", "wrong")], "");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("401"), "{}", ended.stderr);
}

#[test]
fn a_new_api_key_matches_the_line_printed_with_it() {
    let ended = idlewild(&["token", "api-key", "--name", "cron"], &[], "");
    let key = ended
        .stdout
        .lines()
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    let admin = ended.stdout.lines().skip(1).collect::<Vec<_>>().join("\n");
    let file = config("").replace(&format!("[admin]\napi_key = \"{API_KEY}\"\n"), &admin);
    let process = Process::serve_config(&file);
    let status = |key: &str| {
        let bearer = format!("Bearer {key}");
        request(
            process.admin(),
            "GET",
            "/v1/stats",
            &[("Authorization", &bearer)],
            "",
        )
        .status
    };
    assert_eq!((status(&key), status(API_KEY)), (200, 401));
}

fn publish(process: &Process, event: &str) {
    let key = format!("Bearer {API_KEY}");
    let answer = request(
        process.admin(),
        "POST",
        "/v1/events",
        &[("Authorization", &key)],
        event,
    );
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[test]
fn the_health_command_checks_readiness() {
    // The drain does not end before the streams are dropped.
    let mut process = Process::serve(
        "shards = 1\ndrain_rate = 1\ndrain_timeout = \"24h\"\nmax_connections_per_user = 100",
    );
    let url = format!("http://{}", process.admin());
    let health = || idlewild(&["health", "--url", &url], &[], "");
    let ready = health();
    assert_eq!(ready.code, Some(0), "{}", ready.stderr);
    assert_eq!(ready.stdout, "ready\n");

    let token = token("42");
    let path = format!("{NOTIFICATIONS}?token={token}");
    let streams = [(); 60].map(|()| Client::connect(process.public()).open(&path));
    process.signal(Signal::TERM);
    eventually("it drains", || {
        request(process.admin(), "GET", "/readyz", &[], "").status == 503
    });
    let draining = health();
    assert_eq!(draining.code, Some(1));
    assert_eq!(draining.stderr, "idlewild: not ready: draining\n");

    drop(streams);
    process.wait();
    let gone = health();
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.stderr.starts_with(&format!("idlewild: {url}: ")),
        "{}",
        gone.stderr
    );
}

/// The warnings that `check` and `serve` print about this configuration.
fn warnings(listeners: &str, admin: &str) -> (Vec<String>, Vec<String>) {
    let file = format!("{listeners}\n[auth]\nsecret = \"{SECRET}\"\n{admin}");
    let process = Process::serve_config(&file);
    let config = process.config_file();
    let ended = idlewild(&["check", "--config", config.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let checked = ended.stderr.lines();
    let checked = checked.filter_map(|line| line.strip_prefix("idlewild: "));
    // The level, the module and the text.
    let text_of = |line: &str| {
        line.split_once(" WARN ")?
            .1
            .split_once(": ")
            .map(|it| it.1.to_owned())
    };
    let served = process.log().lines().filter_map(text_of).collect();
    (checked.map(ToOwned::to_owned).collect(), served)
}

#[test]
fn check_warns_of_what_serve_warns_of() {
    let local = "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]";
    let everywhere = local.replace(
        "admin_listen = [\"127.0.0.1:0\"]",
        "admin_listen = [\"0.0.0.0:0\"]",
    );
    let key = format!("[admin]\napi_key = \"{API_KEY}\"\n");
    for (listeners, admin, begins) in [
        (local, &*key, None),
        (local, "", Some("admin.api_keys: is empty")),
        (&*everywhere, &*key, Some("admin_listen: 0.0.0.0:0 ")),
    ] {
        let (checked, served) = warnings(listeners, admin);
        assert_eq!(checked, served);
        let is_right = |line: &String| begins.is_some_and(|begins| line.starts_with(begins));
        assert!(checked.iter().all(is_right), "{checked:?}");
        assert_eq!(checked.len(), begins.iter().len(), "{checked:?}");
    }
}

#[test]
fn the_first_line_of_the_log_says_what_started() {
    let process = Process::serve("max_connections = 1234\nshards = 3");
    let log = process.log();
    let mut lines = log.lines();
    let started = if is_redis() {
        lines.find(|line| line.contains(" started ")).unwrap()
    } else {
        lines.next().unwrap()
    };
    let kind = engine_kind();
    let pid = format!("pid={}", process.pid().as_raw_pid());
    for part in [
        &format!("version=\"{}", env!("CARGO_PKG_VERSION")),
        &pid,
        &format!("engine=\"{kind}\""),
        "shards=3",
        "max_connections=1234",
        "max_connections_per_user=5",
        "nofile=",
    ] {
        assert!(started.contains(part), "{part} in {started}");
    }
}
