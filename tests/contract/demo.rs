//! The demo page, which is served only with `--dev`.

use serde_json::json;

use crate::support::page::assert_self_contained;
use crate::support::{TestServer, request};

#[test]
fn the_demo_page_loads_nothing_else() {
    let server = TestServer::start();
    let page = server.get("/");
    assert_self_contained(&page);
    let head = request(server.public, "HEAD", "/", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        head.header("content-length"),
        Some(page.body.len().to_string().as_str())
    );
    let wrong = request(server.public, "POST", "/", &[], "");
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn the_demo_page_has_the_paths_of_the_routes_and_the_admin_address() {
    let server = TestServer::with(|config| config.base_path = "/a\"&b".parse().unwrap());
    let page = server.get("/?token=x").body;
    assert!(
        page.contains(" data-base-path=\"/a&quot;&amp;b\""),
        "{page}"
    );
    let admin = format!(" data-admin=\"{}\"", server.admin);
    assert!(page.contains(&admin), "{page}");
}

#[test]
fn without_dev_there_is_no_demo_page() {
    let server = TestServer::without_dev();
    for method in ["GET", "POST", "OPTIONS"] {
        let answer = request(server.public, method, "/", &[], "");
        assert_eq!(answer.status, 404, "{method}");
        assert_eq!(answer.json(), json!({"error": "Not found"}));
    }
}
