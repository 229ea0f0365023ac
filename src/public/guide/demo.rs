//! `GET /` with `--dev`: a page that logs in and shows the stream's events.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};

use crate::config::Endpoint;
use crate::page::{self, Page};
use crate::public::answer::error;

/// The page, with this server's routes and addresses filled in.
#[derive(Debug)]
pub struct Demo(Page);

impl Demo {
    /// Creates a demo of the routes below `base_path`. Its publishing example uses the address `admin`.
    pub fn new(base_path: &str, admin: Option<&Endpoint>) -> Self {
        let admin = match admin {
            Some(Endpoint::Tcp(address)) => address.to_string(),
            Some(Endpoint::Unix(path)) => format!("--unix-socket {} localhost", path.display()),
            None => String::new(),
        };
        let html = include_str!("demo/page.html")
            .replace("{base_path}", &page::attribute(base_path))
            .replace("{admin}", &page::attribute(&admin));
        let style = [page::STYLE, include_str!("demo/style.css")];
        let script = [page::SCRIPT, include_str!("demo/script.js")];
        Self(Page::new(&html, &style, &script))
    }
}

pub(crate) fn answer(demo: Option<&Demo>) -> Response<Full<Bytes>> {
    match demo {
        Some(Demo(page)) => page.response(),
        None => error(StatusCode::NOT_FOUND, "Not found"),
    }
}
