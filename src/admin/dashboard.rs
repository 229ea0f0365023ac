//! `GET /`: the dashboard. It holds no data and asks for the key itself, so it is served without.

use std::sync::LazyLock;

use http_body_util::Either;

use super::answer::Answer;
use crate::page::{self, Page};

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = [page::STYLE, include_str!("dashboard/style.css")];
    let script = [
        page::SCRIPT,
        include_str!("dashboard/format.js"),
        include_str!("dashboard/server.js"),
        include_str!("dashboard/plot.js"),
        include_str!("dashboard/histogram.js"),
        include_str!("dashboard/overview.js"),
        include_str!("dashboard/users.js"),
        include_str!("dashboard/publish.js"),
        include_str!("dashboard/main.js"),
    ];
    Page::new(include_str!("dashboard/page.html"), &style, &script)
});

pub(super) fn answer() -> Answer {
    PAGE.response().map(Either::Left)
}
