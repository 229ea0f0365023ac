use proptest::prelude::*;

use super::*;

fn read(text: &str) -> EngineUrl {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn tcp(host: &str, port: u16, tls: bool) -> Servers {
    let host = host.into();
    Servers::Tcp { host, port, tls }
}

#[test]
fn each_form_reads_as_documented() {
    let all = [
        ("redis://cache", tcp("cache", 6379, false), 0),
        ("redis://cache/", tcp("cache", 6379, false), 0),
        ("REDIS://cache_1:7000/3\n", tcp("cache_1", 7000, false), 3),
        ("rediss://10.0.0.1/1", tcp("10.0.0.1", 6379, true), 1),
        ("redis://[::1]", tcp("::1", 6379, false), 0),
        ("rediss://[fe80::1]:7000/0", tcp("fe80::1", 7000, true), 0),
        (
            "unix:///run/a b@c.sock",
            Servers::Unix("/run/a b@c.sock".into()),
            0,
        ),
        ("unix:///r.sock?db=15", Servers::Unix("/r.sock".into()), 15),
    ];
    for (text, servers, database) in all {
        let url = read(text);
        assert_eq!(
            (url.servers(), url.database()),
            (&servers, database),
            "{text}"
        );
        assert_eq!((url.user(), url.password()), (None, None), "{text}");
    }
    for (text, database, reads_replica) in [
        ("", 0, false),
        ("/", 0, false),
        ("/2", 2, false),
        ("/2?read=master", 2, false),
        ("/2?read=replica", 2, true),
        ("?read=replica", 0, true),
    ] {
        let url = read(&format!(
            "redis+sentinel://h1,[::2]:7,h3:26380/my-Master_1.x{text}"
        ));
        let sentinels = [("h1", 26379), ("::2", 7), ("h3", 26380)];
        let servers = Servers::Sentinel {
            sentinels: sentinels.map(|(host, port)| (host.into(), port)).into(),
            master: "my-Master_1.x".into(),
            reads_replica,
        };
        assert_eq!(
            (url.servers(), url.database()),
            (&servers, database),
            "{text}"
        );
    }
    for (scheme, tls) in [("redis+cluster", false), ("Rediss+Cluster", true)] {
        for end in ["", "/", "/0"] {
            let url = read(&format!("{scheme}://h1,[::2]:7000,h3:7001{end}"));
            let seeds = [("h1", 6379), ("::2", 7000), ("h3", 7001)];
            let seeds = seeds.map(|(host, port)| (host.into(), port)).into();
            let servers = Servers::Cluster { seeds, tls };
            assert_eq!((url.servers(), url.database()), (&servers, 0));
        }
    }
    assert_eq!(EngineUrl::default(), read("redis://127.0.0.1:6379/0"));
}

#[test]
fn user_and_password_are_decoded() {
    for (login, user, password) in [
        ("me:hunter2", Some("me"), Some("hunter2")),
        (":hunter2", None, Some("hunter2")),
        ("me", Some("me"), None),
        ("m%40e:a%3Ab%2f%25%C3%BC", Some("m@e"), Some("a:b/%ü")),
        // As many people write them.
        ("me:a:b/c@d?e#f", Some("me"), Some("a:b/c@d?e#f")),
    ] {
        for rest in ["h:1/2", "[::1]"] {
            let url = read(&format!("rediss://{login}@{rest}"));
            let found = url.password().map(Secret::expose);
            assert_eq!((url.user(), found), (user, password), "{login}");
        }
        for lists in [
            "redis+sentinel://LOGIN@h1,h2/name",
            "redis+cluster://LOGIN@h1,h2",
        ] {
            let url = read(&lists.replace("LOGIN", login));
            let found = url.password().map(Secret::expose);
            assert_eq!((url.user(), found), (user, password), "{login}");
        }
    }
}

#[test]
fn a_url_is_shown_without_its_login_and_reads_back_as_shown() {
    for (text, shown) in [
        (
            "redis://me:hunter2@cache",
            "redis://<redacted>@cache:6379/0",
        ),
        (
            "rediss://hunter2@[::1]/2",
            "rediss://<redacted>@[::1]:6379/2",
        ),
        (
            "redis+sentinel://:hunter2@h1,h2:7/m",
            "redis+sentinel://<redacted>@h1:26379,h2:7/m/0",
        ),
        (
            "redis+sentinel://h1/m/1?read=replica",
            "redis+sentinel://h1:26379/m/1?read=replica",
        ),
        (
            "redis+cluster://:hunter2@h1,h2:7/0",
            "redis+cluster://<redacted>@h1:6379,h2:7",
        ),
        ("rediss+cluster://h1", "rediss+cluster://h1:6379"),
        ("unix:///r.sock?db=0", "unix:///r.sock"),
        ("unix:///r.sock?db=1", "unix:///r.sock?db=1"),
    ] {
        let url = read(text);
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), shown);
        assert_eq!(read(shown).servers(), url.servers());
        assert_eq!(url.of_log().to_string(), shown.replace("?read=replica", ""));
        assert_eq!(read(shown).database(), url.database());
    }
}

#[test]
fn anything_else_is_rejected_with_the_form_and_without_a_password() {
    let long = format!("unix:///{}", "hunter2".repeat(16));
    for (text, problem) in [
        ("", "starts with none"),
        ("hunter2", "starts with none"),
        ("cache:6379", "starts with none"),
        ("http://me:hunter2@cache", "starts with none"),
        ("unix:/run/hunter2.sock", "starts with none"),
        ("redis://", "names no host"),
        ("redis://:hunter2@", "names no host"),
        ("redis://:hunter2@:6379", "names no host"),
        ("redis://:hunter2", "names no host"),
        ("redis://me:hunter2", "invalid port"),
        ("redis://me:hunter2/0", "invalid port"),
        ("redis://::1", "names no host"),
        ("redis://fe80::1", "brackets"),
        ("redis://cache:", "invalid port"),
        ("redis://cache:0", "invalid port"),
        ("redis://cache:+1", "invalid port"),
        ("redis://cache:65536", "invalid port"),
        ("redis://[::1", "[ without ]"),
        ("redis://[hunter2]", "no IPv6 address"),
        ("redis://[::1]6379", "invalid port"),
        ("redis://h1,h2", "invalid host"),
        ("redis://caché", "invalid host"),
        ("redis://cache?hunter2", "invalid host"),
        ("redis://cache/hunter2", "not a number"),
        ("redis://cache/-1", "not a number"),
        ("redis://cache/+1", "not a number"),
        ("redis://cache/4294967296", "not a number"),
        ("redis://cache/0/hunter2", "not a number"),
        ("redis://cache/0?password=hunter2", "not a number"),
        ("redis://@cache", "nothing before the @"),
        ("redis://:@cache", "an empty password"),
        ("redis://me:%20@cache", "an empty password"),
        ("redis://me:hunter2%@cache", "write %25"),
        ("redis://me:hunter2%zz@cache", "write %25"),
        ("redis://me:hunter2%4@cache", "write %25"),
        ("redis://me:hunter2%FF@cache", "not UTF-8"),
        ("unix://", "no absolute path"),
        ("unix://run/hunter2.sock", "no absolute path"),
        ("unix:///a\0", "no absolute path"),
        ("unix:///a?pass=hunter2", "other than ?db="),
        ("unix:///a?db=", "not a number"),
        (&long, "a path of 113 bytes"),
        ("redis+sentinel://h1", "name the master"),
        ("redis+sentinel://h1/", "name the master"),
        ("redis+sentinel://h1//0", "name the master"),
        ("redis+sentinel://h1/hunter 2", "name the master"),
        ("redis+sentinel://h1,,h2/m", "names no host"),
        ("redis+sentinel:///m", "names no host"),
        ("redis+sentinel://h1/m/hunter2", "not a number"),
        ("redis+sentinel://h1/m?hunter2", "other than ?read="),
        ("redis+sentinel://h1/m/0?read=hunter2", "other than ?read="),
        ("redis+sentinel://h1/m/0/hunter2", "not a number"),
        ("redis+cluster://:hunter2@h1,h2/1", "only number 0"),
        ("redis+cluster://h1/hunter2", "only number 0"),
        ("redis+cluster://h1/0/hunter2", "only number 0"),
        ("redis+cluster://", "names no host"),
        ("rediss+cluster://h1,,h2", "names no host"),
        ("redis+cluster://h1:hunter2", "invalid port"),
    ] {
        let error = text.parse::<EngineUrl>().unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
        assert!(error.contains("://"), "{text}: {error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        scheme in "redis://|rediss://|unix://|redis\\+sentinel://|rediss?\\+cluster://|",
        rest: String,
    ) {
        let _ = format!("{scheme}{rest}").parse::<EngineUrl>();
    }
}
