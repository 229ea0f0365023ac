//! Shows the progress of a run on stderr: a bar on a terminal, otherwise a line every two seconds.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock;

const LINE_EVERY_NS: u64 = 2_000_000_000;
const STEP: Duration = Duration::from_millis(100);

/// One stage of a run, from 0 to `total`.
#[derive(Debug)]
pub(crate) struct Stage {
    label: String,
    total: u64,
    at: u64,
    bar: Option<ProgressBar>,
    start_ns: u64,
    shown_ns: u64,
}

impl Stage {
    /// Shows the start of a stage.
    pub(crate) fn new(label: impl Into<String>, total: u64) -> Self {
        let label = label.into();
        let bar = std::io::stderr().is_terminal().then(|| bar(&label, total));
        let now_ns = clock::now_ns();
        Self {
            label,
            total,
            at: 0,
            bar,
            start_ns: now_ns,
            shown_ns: now_ns,
        }
    }

    /// Shows the progress of the stage.
    pub(crate) fn at(&mut self, at: u64) {
        self.at = at;
        match &self.bar {
            Some(bar) => bar.set_position(at),
            None if clock::now_ns() - self.shown_ns >= LINE_EVERY_NS => self.line("…"),
            None => {}
        }
    }

    fn line(&mut self, end: &str) {
        self.shown_ns = clock::now_ns();
        let elapsed_s = clock::seconds_between(self.start_ns, self.shown_ns);
        let Self {
            label, at, total, ..
        } = self;
        let _ = writeln!(
            std::io::stderr(),
            "{label}: {at}/{total} {elapsed_s:.1} s{end}"
        ); // errors do not matter here
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        match self.bar.take() {
            Some(bar) => bar.abandon(),
            None => self.line(""),
        }
    }
}

/// Shows a line about something that happens beside the stages.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}"); // errors do not matter here
}

/// Sleeps for `duration` and shows the progress. `watch` is called ten times a second.
pub(crate) fn rest(label: &str, duration: Duration, watch: &mut dyn FnMut()) {
    let tenths = u64::try_from(duration.as_millis() / STEP.as_millis()).unwrap_or(u64::MAX);
    let mut stage = Stage::new(format!("{label} (tenths of a second)"), tenths);
    let start_ns = clock::now_ns();
    for step in 1..=tenths {
        clock::sleep_until_ns(start_ns + step * clock::duration_ns(STEP));
        stage.at(step);
        watch();
    }
    clock::sleep_until_ns(start_ns + clock::duration_ns(duration));
}

fn bar(label: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:40} {bar:30} {pos}/{len} {elapsed} eta {eta}");
    ProgressBar::new(total)
        .with_style(style.expect("the template is a constant"))
        .with_message(label.to_owned())
}
