//! The lines that errors name, and the form that they ask for.

use super::checked;

/// The errors of a file, without the directory in their origins.
fn errors(file: &str) -> Vec<String> {
    let lines = checked(file).unwrap_err();
    let begin = |line: &str| line.find("[from ").map_or(0, |at| at + "[from ".len());
    let without_directory = |line: &str| {
        let (before, after) = line.split_at(begin(line));
        let name = after.rfind('/').map_or(0, |slash| slash + 1);
        format!("{before}{}", &after[name..])
    };
    lines.lines().map(without_directory).collect()
}

#[test]
fn an_error_names_its_line() {
    let file = r#"
max_conections = 5
retry_min = "9s"
listen = [
    "127.0.0.1:1",
    "localhost:80",
]

[auth]
jwt_cookie = "a b"
secrte = "x"

[[admin.api_keys]]
name = "a"
hash = "sha256:zz"
"#;
    let errors = errors(file);
    for (key, line) in [
        ("max_conections", 2),
        ("retry_min", 3),
        ("listen[1]", 6),
        ("auth.jwt_cookie", 10),
        ("auth.secrte", 11),
        ("admin.api_keys[0].hash", 15),
    ] {
        let begins = format!("{key}: ");
        let ends = format!(" [from idlewild.toml, line {line}]");
        assert!(
            errors
                .iter()
                .any(|error| error.starts_with(&begins) && error.ends_with(&ends)),
            "{key}, line {line}, in {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 6, "{errors:#?}");
}

#[test]
fn a_value_of_the_wrong_type_is_rejected_with_the_right_form() {
    for (line, error) in [
        (
            "heartbeat = 30",
            "heartbeat: `30` has no unit (write e.g. \"30s\" for seconds; ",
        ),
        (
            "heartbeat = 1.5",
            "heartbeat: `1.5` is of type float (write e.g. \"30s\")",
        ),
        (
            "send_buffer = true",
            "send_buffer: `true` is of type boolean (write e.g. \"64KiB\" or plain bytes)",
        ),
        (
            "shards = \"2\"",
            "shards: `\"2\"` is of type string (write 2)",
        ),
        (
            "shards = \"two\"",
            "shards: `\"two\"` is of type string, write a whole number",
        ),
        (
            "test_stream = \"false\"",
            "test_stream: `\"false\"` is of type string (write false)",
        ),
        (
            "listen = \"127.0.0.1:8000\"",
            "listen: `127.0.0.1:8000` is not a list (write [\"127.0.0.1:8000\"])",
        ),
        (
            "base_path = 7",
            "base_path: `7` is of type integer (write \"7\")",
        ),
    ] {
        let errors = errors(line);
        assert!(errors[0].starts_with(error), "{line}: {errors:?}");
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}

#[test]
fn a_value_without_quotes_does_not_hide_the_other_errors() {
    let file = "heartbeat = 30s\nlog_level = info # or debug\nlisten = 127.0.0.1:0\nshards = two\n\
                test_stream = yes\nmax_conections = 5\n[auth]\n\
                secret = 0123456789abcdef0123456789abcdef\naudience = 7\n";
    let mut errors = errors(file);
    errors.sort_by_key(|error| error.rsplit_once(' ').unwrap().1.to_owned());
    let expected = [
        "heartbeat: `30s` has no quotes (write \"30s\") [from idlewild.toml, line 1]",
        "log_level: `info` has no quotes (write \"info\") [from idlewild.toml, line 2]",
        "listen: `127.0.0.1:0` is not a list (write [\"127.0.0.1:0\"]) [from idlewild.toml, line 3]",
        "shards: `two` is not a whole number [from idlewild.toml, line 4]",
        "test_stream: `yes` is neither true nor false [from idlewild.toml, line 5]",
        "max_conections: unknown key, the nearest is max_connections (`idlewild check --dev` prints every key) [from idlewild.toml, line 6]",
        "auth.secret: has no quotes (its value is not shown; write \"…\") [from idlewild.toml, line 8]",
        "auth.audience: `7` is of type integer (write \"7\") [from idlewild.toml, line 9]",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_list_without_quotes_does_not_hide_the_other_errors() {
    for (list, suggested) in [
        ("[127.0.0.1:80]", "[\"127.0.0.1:80\"]"),
        (
            "[\"127.0.0.1:80\", unix:/run/idlewild.sock]",
            "[\"127.0.0.1:80\", \"unix:/run/idlewild.sock\"]",
        ),
    ] {
        let file = format!("listen = {list}\nshards = \"two\"\n[auth]\naudience = 7\n");
        let expected = [
            &format!(
                "listen: `{list}` has no quotes (write {suggested}) [from idlewild.toml, line 1]"
            ),
            "shards: `\"two\"` is of type string, write a whole number [from idlewild.toml, line 2]",
            "auth.audience: `7` is of type integer (write \"7\") [from idlewild.toml, line 4]",
        ];
        assert_eq!(errors(&file), expected);
    }
}

#[test]
fn all_syntax_errors_are_reported_one_per_line() {
    let errors = checked("listen 1\nshards: 2\nheartbeat = 30s\n[auth\n").unwrap_err();
    let lines: Vec<_> = errors
        .lines()
        .map(|line| line.split_once("idlewild.toml, line ").unwrap().1)
        .collect();
    for (line, number) in lines.iter().zip(["1: ", "2: ", "4: "]) {
        assert!(line.starts_with(number), "{errors}");
    }
    assert_eq!(lines.len(), 3, "{errors}");
}

#[test]
fn a_variable_that_replaces_a_list_replaces_the_lines_of_its_items() {
    let dir = tempfile::tempdir().unwrap();
    let file = "listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]";
    let env = [("IDLEWILD_LISTEN", "127.0.0.1:1,nonsense")];
    let sources = super::sources(&dir, file, &env, &[]);
    let errors = super::load(&sources).unwrap_err().to_string();
    let listen = errors.lines().find(|line| line.starts_with("listen[1]: "));
    assert!(
        listen.unwrap().ends_with("[from IDLEWILD_LISTEN]"),
        "{errors}"
    );
}

#[test]
fn a_line_that_seems_to_need_quotes_hides_no_other_error() {
    for (file, line, message) in [
        (
            "max_connections = 15000\nmax_connections = 50000\n",
            2,
            "duplicate key",
        ),
        (
            "test_stream = true\ntest_stream = false\n",
            2,
            "duplicate key",
        ),
        ("[[admin.api_keys]]\nname = django\nhash = \"x\"\n", 2, ""),
    ] {
        let errors = errors(file);
        let place = format!("line {line}");
        assert!(
            errors
                .iter()
                .any(|error| error.contains(&place) && error.contains(message)),
            "{file} {errors:#?}"
        );
    }
}
