//! `GET /`: the dashboard. It holds no data and asks for the key itself, so it is served without.

use std::sync::LazyLock;

use http_body_util::Either;

use crate::admin::api::answer::Answer;
use crate::page::{self, Page};

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = [page::STYLE, include_str!("style.css")];
    let script = [
        page::SCRIPT,
        include_str!("format.js"),
        include_str!("server.js"),
        include_str!("plot.js"),
        include_str!("histogram.js"),
        include_str!("overview.js"),
        include_str!("users.js"),
        include_str!("publish.js"),
        include_str!("main.js"),
    ];
    Page::new(include_str!("page.html"), &style, &script)
});

pub(crate) fn answer() -> Answer {
    PAGE.response().map(Either::Left)
}
