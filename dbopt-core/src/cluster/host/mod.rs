//! How busy a node's machine is: asked of a source that can be replaced, beside the health probes and never in their way (R10).

mod config;
mod exporter;
mod proc;
mod source;
mod watch;

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub use config::{HostConfig, HostSourceKind};
pub use source::{Asked, Cpu, HostSample, HostSource, Told};
pub use watch::HostWatcher;

pub(crate) use source::Sources;

/// How busy a node's machine is; what nobody can tell is absent, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HostReading {
    /// The share of its processors' time in use, from 0 to 1.
    pub cpu: Option<f64>,
    /// The share of its memory in use, from 0 to 1.
    pub memory: Option<f64>,
    /// The share of the data directory's file system in use, from 0 to 1.
    pub disk: Option<f64>,
}

/// The last reading of a node, for as long as it holds, and what is strained there.
#[derive(Debug, Clone, Default)]
pub(super) struct LastReading {
    reading: HostReading,
    at: Option<Instant>,
    strained: [bool; 3],
    absent: Option<String>,
}

/// Above these a machine is strained; five hundredths below it is not any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) disk: f64,
}

const RELIEF: f64 = 0.05;

impl LastReading {
    pub(super) fn note(&mut self, now: Instant, reading: HostReading) {
        (self.reading, self.at, self.absent) = (reading, Some(now), None);
    }

    /// Notes why there is no reading; whether that is news.
    pub(super) fn miss(&mut self, why: String) -> bool {
        let news = self.absent.as_ref() != Some(&why);
        self.absent = Some(why);
        news
    }

    /// Why there was no reading the last time.
    pub(super) fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    /// The reading, unless it is older than `holds`.
    pub(super) fn at(&self, now: Instant, holds: Duration) -> HostReading {
        match self.at {
            Some(at) if now.saturating_duration_since(at) <= holds => self.reading,
            _ => HostReading::default(),
        }
    }

    /// What is strained there, in words.
    pub(super) fn strain(&mut self, reading: HostReading, limits: Limits) -> Option<String> {
        let figures = [
            ("processors", reading.cpu, limits.cpu),
            ("memory", reading.memory, limits.memory),
            ("disk", reading.disk, limits.disk),
        ];
        let mut words = Vec::new();
        for ((name, figure, limit), strained) in figures.into_iter().zip(&mut self.strained) {
            let end = if *strained { limit - RELIEF } else { limit };
            *strained = figure.is_some_and(|figure| figure > end);
            if let (true, Some(figure)) = (*strained, figure) {
                words.push(format!("{:.0} % of its {name}", figure * 100.0));
            }
        }
        (!words.is_empty()).then(|| format!("its machine uses {}", words.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_old_reading_is_no_reading() {
        let (now, mut last) = (Instant::now(), LastReading::default());
        let holds = Duration::from_secs(30);
        assert_eq!(last.at(now, holds), HostReading::default());
        let reading = HostReading { cpu: Some(0.5), ..HostReading::default() };
        last.note(now, reading);
        assert_eq!(last.at(now + holds, holds), reading);
        assert_eq!(last.at(now + holds * 2, holds), HostReading::default());
    }

    #[test]
    fn strain_begins_above_the_limit_and_ends_well_below() {
        let limits = Limits { cpu: 0.95, memory: 0.95, disk: 0.9 };
        let mut last = LastReading::default();
        let mut disk = |share| last.strain(HostReading { disk: Some(share), ..HostReading::default() }, limits);
        assert_eq!(disk(0.9), None);
        assert_eq!(disk(0.91).as_deref(), Some("its machine uses 91 % of its disk"));
        assert!(disk(0.87).is_some(), "no flicker");
        assert!(disk(0.84).is_none() && disk(0.89).is_none());
        assert_eq!(last.strain(HostReading::default(), limits), None, "what nobody can tell is no strain");
    }
}
