//! `GET /` with `--dev`: a page that logs in, shows the stream's events and publishes.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};

use crate::config::Endpoint;
use crate::page::{self, Page};
use crate::public::answer::error;

/// The page, with this server's routes and addresses filled in. It publishes on the admin listener, with the API key
/// that the user enters.
#[derive(Debug)]
pub struct Demo(Page);

impl Demo {
    /// Creates a demo of the routes below `base_path`. It publishes at the address `admin`.
    pub fn new(base_path: &str, admin: Option<&Endpoint>) -> Self {
        let origin = match admin {
            Some(Endpoint::Tcp(address)) => admin_origin(address),
            _ => String::new(),
        };
        let admin = match admin {
            Some(Endpoint::Tcp(address)) => address.to_string(),
            Some(Endpoint::Unix(path)) => format!("--unix-socket {} localhost", path.display()),
            None => String::new(),
        };
        let html = include_str!("demo/page.html")
            .replace("{base_path}", &page::attribute(base_path))
            .replace("{admin}", &page::attribute(&admin));
        let style = [page::STYLE, include_str!("demo/style.css")];
        let script = [
            page::SCRIPT,
            include_str!("demo/stream.js"),
            include_str!("demo/script.js"),
            include_str!("demo/publish.js"),
            include_str!("demo/start.js"),
        ];
        Self(Page::connecting_to(&origin, &html, &style, &script))
    }
}

/// The admin listener as a source of the page's policy. The policy has no notation for IPv6 addresses, and an
/// unspecified address is reached under any name, so for these only the port is given.
fn admin_origin(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if !address.ip().is_unspecified() => format!("http://{address}"),
        _ => format!("http://*:{}", address.port()),
    }
}

pub(crate) fn answer(demo: Option<&Demo>) -> Response<Full<Bytes>> {
    match demo {
        Some(Demo(page)) => page.response(),
        None => error(StatusCode::NOT_FOUND, "Not found"),
    }
}
