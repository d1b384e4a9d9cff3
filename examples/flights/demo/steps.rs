//! What the demo tells on its way.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// What is being done, and what is done with the time it took.
pub(crate) struct Steps {
    spinner: ProgressBar,
    since: Cell<Instant>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Steps { spinner: ProgressBar::new_spinner(), since: Cell::new(Instant::now()) }
    }

    pub(crate) fn begin(&self, what: &'static str) {
        self.spinner.set_message(what);
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    pub(crate) fn done(&self, what: &str) {
        let took = self.since.replace(Instant::now()).elapsed();
        self.spinner.disable_steady_tick();
        self.spinner.suspend(|| eprintln!("{:>6.1} s  {what}", took.as_secs_f64()));
    }
}

/// A progress bar that looks like `template`.
pub(crate) fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
