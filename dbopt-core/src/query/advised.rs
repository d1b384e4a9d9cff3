//! The last advice on indexes, and why there is none. It keeps; the runtime asks.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::advise::Report;

/// Advice on indexes for the statements of this instance.
#[derive(Debug, Clone, Serialize)]
pub struct IndexAdvice {
    /// What was found the last time; the foremost of each list.
    pub report: Option<Arc<Report>>,
    /// How long ago that was, in seconds.
    pub ago_seconds: Option<f64>,
    /// How long it took, in seconds.
    pub took_seconds: Option<f64>,
    /// Why there is nothing, or nothing newer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// When it is looked again, in seconds.
    pub next_seconds: Option<f64>,
    /// How often there was advice, and how often there was none.
    pub looks: [u64; 2],
}

/// What was found.
#[derive(Debug)]
struct Found {
    at: Instant,
    took: Duration,
    report: Arc<Report>,
    counts: [(&'static str, usize); 5],
}

#[derive(Debug, Default)]
struct State {
    found: Option<Found>,
    absent: Option<String>,
    next: Option<Instant>,
    looks: [u64; 2],
}

/// The last advice.
#[derive(Debug, Default)]
pub(super) struct Advised(Mutex<State>);

impl Advised {
    /// Nobody looks, and why.
    pub(super) fn never(&self, why: &str) {
        self.0.lock().absent = Some(why.to_owned());
    }

    pub(super) fn looks_in(&self, time: Duration) {
        self.0.lock().next = Some(Instant::now() + time);
    }

    /// The answer. Gives what is news in it, a line for each: an index that was not missing before, another reason for having none.
    pub(super) fn told(&self, took: Duration, told: Result<Report, String>) -> Result<Vec<String>, Option<String>> {
        let mut state = self.0.lock();
        match told {
            Ok(report) => {
                let counts = report.counts();
                let report = Arc::new(report.shortened());
                let before = state.found.as_ref().map(|found| found.report.clone());
                let known =
                    |index: &str| before.iter().flat_map(|report| &report.missing).any(|one| one.index == index);
                let fresh = report.missing.iter().filter(|advice| !known(&advice.index));
                let news = fresh.map(|advice| format!("{}; for {}", advice.create, advice.why)).collect();
                state.found = Some(Found { at: Instant::now(), took, report, counts });
                state.absent = None;
                state.looks[0] += 1;
                Ok(news)
            }
            Err(why) => {
                state.looks[1] += 1;
                let news = state.absent.as_ref() != Some(&why);
                state.absent = Some(why.clone());
                Err(news.then_some(why))
            }
        }
    }

    pub(super) fn status(&self) -> IndexAdvice {
        let state = self.0.lock();
        let (found, now) = (state.found.as_ref(), Instant::now());
        let not_yet = || found.is_none().then(|| "not looked yet".to_owned());
        IndexAdvice {
            report: found.map(|found| found.report.clone()),
            ago_seconds: found.map(|found| found.at.elapsed().as_secs_f64()),
            took_seconds: found.map(|found| found.took.as_secs_f64()),
            absent: state.absent.clone().or_else(not_yet),
            next_seconds: state.next.map(|next| next.saturating_duration_since(now).as_secs_f64()),
            looks: state.looks,
        }
    }

    /// How many indexes of each kind; nothing before the first answer.
    pub(super) fn counts(&self) -> Vec<(&'static str, usize)> {
        self.0.lock().found.iter().flat_map(|found| found.counts).collect()
    }
}
