use std::os::unix::fs::PermissionsExt as _;

use super::accounts::{AccountId, Accounts, hash_password};
use super::edit::set_password_with;
use super::file::add_with;
use super::{add, list, remove};
use crate::config::InputFile;
use argon2::Params;

fn cheap() -> Params {
    Params::new(Params::MIN_M_COST, 1, 1, None).unwrap()
}

fn block(id: &str, email: &str) -> String {
    let hash = hash_password("password", cheap());
    format!("[[users]]\nid = {id}\nemail = \"{email}\"\nhash = \"{hash}\"\n")
}

fn problem(text: &str) -> String {
    Accounts::parse(text).unwrap_err().to_string()
}

#[test]
fn the_guides_user_logs_in_with_dev() {
    let accounts = Accounts::development();
    let account = accounts.check("user@example.com", "password").unwrap();
    assert_eq!(account.id, AccountId::Int(1));
    assert_eq!(
        serde_json::to_string(account).unwrap(),
        r#"{"id":1,"email":"user@example.com"}"#
    );
    assert!(accounts.check("user@example.com", "Password").is_none());
    assert!(accounts.check("user@example.com", "").is_none());
    assert!(accounts.check("nobody@example.com", "password").is_none());
}

#[test]
fn an_address_is_compared_without_regard_to_case() {
    let accounts = Accounts::parse(&block("\"u-1\"", "Ada@Example.com")).unwrap();
    let account = accounts.check("aDA@exaMPLE.com", "password").unwrap();
    assert_eq!(
        (account.id.to_string().as_str(), account.email.as_str()),
        ("u-1", "Ada@Example.com")
    );
    assert_eq!(serde_json::to_value(&account.id).unwrap(), "u-1");
}

#[test]
fn an_empty_file_has_no_logins() {
    let accounts = Accounts::parse("").unwrap();
    assert!(accounts.is_empty());
    assert!(accounts.check("user@example.com", "").is_none());
}

#[test]
fn a_decoys_password_is_rejected() {
    let accounts = Accounts::parse(&block("1", "a@example.com")).unwrap();
    for number in 0..20 {
        assert!(
            accounts
                .check(&format!("{number}@example.com"), "password")
                .is_none()
        );
    }
}

#[test]
fn the_error_about_a_bad_file_says_where_and_what() {
    let one = block("1", "a@example.com");
    let twice = format!("{one}{}", block("2", "A@example.com"));
    assert_eq!(
        problem(&twice),
        "two users have the email \"A@example.com\""
    );
    let twice = format!("{one}{}", block("\"1\"", "b@example.com"));
    assert_eq!(problem(&twice), "two users have the id \"1\"");
    assert!(problem(&format!("{one}admin = true\n")).starts_with("line 5: unknown field `admin`"));
    assert!(problem("[[user]]\n").contains("unknown field"));
    assert!(problem("[[users]]\nid = 1\n").contains("missing field"));
    assert!(problem(&block("-1", "a@example.com")).starts_with("line 2: "));
    assert!(problem(&block("\"\"", "a@example.com")).starts_with("id \"\""));
    for email in ["", "a", "@b", "a@", "a b@c"] {
        assert!(
            problem(&block("1", email)).ends_with("is not an email address"),
            "{email}"
        );
    }
    for hash in [
        "",
        "plain",
        "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
        "$argon2id$v=19$m=8,t=1,p=1",
    ] {
        let text = format!("[[users]]\nid = 1\nemail = \"a@b\"\nhash = \"{hash}\"\n");
        assert!(
            problem(&text).starts_with("a@b: hash: not an Argon2id hash"),
            "{hash}"
        );
    }
}

#[test]
fn an_error_names_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (content, problem) in [(&b"users"[..], "line 1: "), (b"\xff", "is not UTF-8 text")] {
        std::fs::write(file.path(), content).unwrap();
        let accounts = Accounts::of(&InputFile::read(file.path()).unwrap());
        let message = accounts.unwrap_err().to_string();
        let expected = format!("{}: {problem}", file.path().display());
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn users_are_added_with_the_next_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let add = |id, email| add_with(&path, id, email, "password", cheap());
    assert_eq!(add(None, "a@example.com").unwrap(), "1");
    assert_eq!(add(Some("41"), "b@example.com").unwrap(), "41");
    assert_eq!(add(Some("u-7"), "c@example.com").unwrap(), "u-7");
    assert_eq!(add(None, "d@example.com").unwrap(), "42");
    let accounts = Accounts::of(&InputFile::read(&path).unwrap()).unwrap();
    assert_eq!(accounts.len(), 4);
    assert_eq!(
        accounts.check("d@example.com", "password").unwrap().id,
        AccountId::Int(42)
    );
    assert_eq!(
        accounts.check("c@example.com", "password").unwrap().id,
        AccountId::Text("u-7".into())
    );
}

#[test]
fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    add_with(&path, None, "a@example.com", "password", cheap()).unwrap();
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    add_with(&path, None, "b@example.com", "password", cheap()).unwrap();
    assert_eq!(mode(), 0o640);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn adding_keeps_the_text_and_rejects_invalid_additions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let before = format!(
        "# the team\n{}# no newline at the end",
        block("1", "a@example.com")
    );
    std::fs::write(&path, &before).unwrap();
    let add = |id, email, password| add_with(&path, id, email, password, cheap());
    assert!(add(None, "A@example.com", "password").is_err());
    assert!(add(Some("1"), "b@example.com", "password").is_err());
    assert!(add(None, "no address", "password").is_err());
    assert!(add(None, "b@example.com", "").is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    add(None, "b@example.com", "password").unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with(&before));
    assert_eq!(
        Accounts::of(&InputFile::read(&path).unwrap())
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_link_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().join("real.toml"), dir.path().join("users.toml"));
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    add_with(&link, None, "a@example.com", "password", cheap()).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        Accounts::of(&InputFile::read(&target).unwrap())
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn added_users_get_the_costs_that_owasp_recommends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    add(&path, None, "a@example.com", "password").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
}

#[test]
fn a_user_is_removed_and_everything_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let (a, b, c) = (
        block("1", "a@example.com"),
        block("2", "B@example.com"),
        block("3", "c@example.com"),
    );
    std::fs::write(&path, format!("# the team\n{a}\n{b}# since May\n\n{c}")).unwrap();
    assert_eq!(remove(&path, "b@EXAMPLE.com").unwrap(), "2");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("# the team\n{a}\n# since May\n\n{c}"));
    assert_eq!(remove(&path, "c@example.com").unwrap(), "3");
    assert_eq!(remove(&path, "a@example.com").unwrap(), "1");
    assert_eq!(list(&path).unwrap(), []);
    let error = remove(&path, "a@example.com").unwrap_err().to_string();
    assert!(
        error.starts_with("no user has the email \"a@example.com\""),
        "{error}"
    );
}

#[test]
fn a_new_password_replaces_only_the_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let text = format!(
        "{}# the boss\n\n{}",
        block("\"u-1\"", "a@example.com"),
        block("2", "b@example.com")
    );
    std::fs::write(&path, &text).unwrap();
    let set = |email, password| set_password_with(&path, email, password, cheap());
    assert_eq!(set("A@example.com", "new").unwrap(), "u-1");
    assert!(set("a@example.com", "").is_err());
    assert!(set("c@example.com", "new").is_err());
    let accounts = Accounts::of(&InputFile::read(&path).unwrap()).unwrap();
    assert!(accounts.check("a@example.com", "new").is_some());
    assert!(accounts.check("a@example.com", "password").is_none());
    assert!(accounts.check("b@example.com", "password").is_some());
    let without_hashes = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("hash"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let changed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(without_hashes(&changed), without_hashes(&text));
}

#[test]
fn users_in_a_list_on_one_line_are_not_removed_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let hash = hash_password("password", cheap());
    let user = |id| format!("{{ id = {id}, email = \"{id}@example.com\", hash = \"{hash}\" }}");
    let text = format!("users = [{}, {}]\n", user(1), user(2));
    std::fs::write(&path, &text).unwrap();
    let error = remove(&path, "1@example.com").unwrap_err().to_string();
    assert!(error.ends_with("edit the file by hand"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let listed = list(&path).unwrap();
    assert_eq!(listed[1], ("2".to_owned(), "2@example.com".to_owned()));
}

#[test]
fn the_only_user_of_a_list_is_not_removed_from_within_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let hash = hash_password("password", cheap());
    let user = format!("{{ id = 1, email = \"1@example.com\", hash = \"{hash}\" }}");
    for text in [
        format!("users = [\n  {user} ]\n"),
        format!("users = [{user}\n]\n"),
        format!("users = [\n  {user},\n]\n"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let removed = remove(&path, "1@example.com");
        let left = std::fs::read_to_string(&path).unwrap();
        let is_valid = list(&path).is_ok_and(|users| users.is_empty() == removed.is_ok());
        assert!(is_valid, "{removed:?} {left}");
    }
}
