//! `GET /`: the dashboard. The page contains no data and asks for a key itself, so it needs no key.

use std::sync::LazyLock;

use http_body_util::Either;

use crate::admin::api::response::ApiResponse;
use crate::page::{self, Page};

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = [page::STYLE, include_str!("page/style.css")];
    let script = [
        page::SCRIPT,
        include_str!("page/format.js"),
        include_str!("page/server.js"),
        include_str!("page/scale.js"),
        include_str!("page/plot.js"),
        include_str!("page/histogram.js"),
        include_str!("page/past.js"),
        include_str!("page/reasons.js"),
        include_str!("page/overview.js"),
        include_str!("page/refusals.js"),
        include_str!("page/users.js"),
        include_str!("page/publish.js"),
        include_str!("page/main.js"),
    ];
    Page::new(include_str!("page/page.html"), &style, &script)
});

pub(crate) fn response() -> ApiResponse {
    PAGE.response().map(Either::Left)
}
