//! Who tells how busy a node's machine is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::HostReading;

/// What a source is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Its host, where its URL names one.
    pub host: Option<&'a str>,
}

/// How busy processors are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cpu {
    /// The share of the time, from 0 to 1.
    Share(f64),
    /// Time spent since the machine was started, in any unit: the share is that between two samples.
    Spent {
        /// At work.
        busy: f64,
        /// In all.
        total: f64,
    },
}

/// What a source knows of a machine; what it does not know is absent, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostSample {
    /// Its processors.
    pub cpu: Option<Cpu>,
    /// The share of its memory in use, from 0 to 1.
    pub memory: Option<f64>,
    /// The share of the data directory's file system in use, from 0 to 1.
    pub disk: Option<f64>,
}

/// A source's answer: a sample, or why there is none.
pub type Told<'a> = Pin<Box<dyn Future<Output = Result<HostSample, String>> + Send + 'a>>;

/// A source of the application's own, such as a cloud's monitoring service.
///
/// It is asked for one node at a time by a task of its own, and dropped at `cluster.host.timeout`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a source of machine statistics that dbopt can ask")]
pub trait HostSource: Send + Sync + 'static {
    /// Tells how busy the machine is now.
    ///
    /// # Errors
    /// Why nobody can tell, in words for the state and the log.
    ///
    /// # Cancel safety
    /// The future is dropped when it takes too long.
    fn read<'a>(&'a self, asked: Asked<'a>) -> Told<'a>;
}

/// The source in use, for one node.
#[derive(Clone)]
pub(crate) enum Sources {
    /// The server itself.
    Sql,
    /// A node exporter at this address.
    Exporter(Arc<str>),
    /// The application's own.
    Custom(Arc<dyn HostSource>),
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sources::Sql => "Sql",
            Sources::Exporter(_) => "Exporter",
            Sources::Custom(_) => "Custom",
        })
    }
}

/// Samples of one machine in their order.
#[derive(Debug, Default)]
pub(super) struct Series {
    spent: Option<(f64, f64)>,
}

impl Series {
    /// The reading that follows from the next sample. The first one tells nothing of the processors if only differences do.
    pub(super) fn next(&mut self, sample: HostSample) -> HostReading {
        let share = |value: f64| value.is_finite().then(|| value.clamp(0.0, 1.0));
        let cpu = match sample.cpu {
            None => None,
            Some(Cpu::Share(value)) => share(value),
            Some(Cpu::Spent { busy, total }) => {
                let before = self.spent.replace((busy, total));
                // Counters that went back belong to a machine that was started again.
                let since = before.filter(|(b, t)| total > *t && busy >= *b);
                since.and_then(|(b, t)| share((busy - b) / (total - t)))
            }
        };
        HostReading { cpu, memory: sample.memory.and_then(share), disk: sample.disk.and_then(share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_judged_by_the_difference_of_two_samples() {
        let mut series = Series::default();
        let mut cpu = |busy, total| {
            series.next(HostSample { cpu: Some(Cpu::Spent { busy, total }), ..HostSample::default() }).cpu
        };
        assert_eq!(cpu(900.0, 1000.0), None, "since the start of the machine is not now");
        assert_eq!(cpu(925.0, 1100.0), Some(0.25));
        assert_eq!(cpu(925.0, 1100.0), None, "no time has passed");
        assert_eq!(cpu(5.0, 10.0), None, "it was started again");
        assert_eq!(cpu(10.0, 20.0), Some(0.5));
    }

    #[test]
    fn nonsense_is_absent() {
        let sample = HostSample { cpu: Some(Cpu::Share(f64::NAN)), memory: Some(1.5), disk: Some(f64::INFINITY) };
        let reading = Series::default().next(sample);
        assert_eq!(reading, HostReading { cpu: None, memory: Some(1.0), disk: None });
    }
}
