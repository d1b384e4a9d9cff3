//! Requests that come when they come, whether or not earlier ones are answered: the way users behave who do not know of each other.
//!
//! A generator that waits for an answer before it asks again stops asking while the service stands still, and so measures one slow answer where
//! hundreds of users would have waited. Here each request has a time at which it was to be sent, and that is what its latency is counted from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// How long after the last arrival requests are still sent that found no free connection.
pub const GRACE: Duration = Duration::from_secs(10);

/// The longest latency that is told apart, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// The first few errors are kept: the rest is usually more of the same.
const ERROR_SAMPLES: usize = 5;

/// When requests are to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// How many in a second.
    pub rate: f64,
    /// For how long.
    pub length: Duration,
}

impl Schedule {
    /// How many requests that makes.
    pub fn requests(self) -> u64 {
        (self.rate * self.length.as_secs_f64()).round() as u64
    }

    /// When request `number` is to be sent.
    fn time(self, start: Instant, number: u64) -> Instant {
        start + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

/// How far a run is.
#[derive(Debug, Default)]
pub struct Live {
    /// Requests whose time has come.
    pub due: AtomicU64,
    /// Requests that were answered.
    pub answered: AtomicU64,
    /// Requests that failed.
    pub errors: AtomicU64,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Tally {
    /// From the moment a request was to be sent until its answer, in microseconds.
    pub corrected: Histogram<u64>,
    /// From the moment it was sent, in microseconds.
    pub service: Histogram<u64>,
    /// Requests that failed. Their times are counted as well.
    pub errors: u64,
    /// Requests that were never sent, because no connection was free until the very end; counted in `corrected` with the time until then.
    pub unsent: u64,
    /// The first errors, for the reader to start from.
    pub error_samples: Vec<String>,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3);
        let (corrected, service) = (histogram()?, histogram()?);
        Ok(Tally { corrected, service, errors: 0, unsent: 0, error_samples: Vec::new() })
    }

    fn merge(mut self, other: Tally) -> anyhow::Result<Self> {
        self.corrected.add(&other.corrected)?;
        self.service.add(&other.service)?;
        self.errors += other.errors;
        self.unsent += other.unsent;
        self.error_samples.extend(other.error_samples);
        self.error_samples.truncate(ERROR_SAMPLES);
        Ok(self)
    }
}

/// Who tells when a request's time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacer {
    /// A thread of its own, which is at most some 0.1 ms late: for real servers.
    Thread,
    /// A task that sleeps on tokio's clock, to the millisecond: for a clock that is paused.
    Task,
}

/// Sends the requests of `schedule` over at most `connections` at once; `send` is called with each one's number.
///
/// # Errors
/// When the pacer's thread cannot be started.
pub async fn run<S, F>(
    schedule: Schedule,
    connections: usize,
    pacer: Pacer,
    live: Arc<Live>,
    send: S,
) -> anyhow::Result<Tally>
where
    S: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let start = Instant::now();
    let give_up = start + schedule.length + GRACE;
    let (tell, told) = unbounded_channel();
    let arrivals = Arc::new(Mutex::new(told));
    match pacer {
        Pacer::Thread => {
            let live = live.clone();
            let pace = move || pace(schedule, start, &tell, &live);
            std::thread::Builder::new().name("pacer".into()).spawn(pace).context("cannot start the pacer")?;
        }
        Pacer::Task => drop(tokio::spawn(pace_by_tokio(schedule, start, tell, live.clone()))),
    }
    let workers = (0..connections).map(|_| {
        let worker = Worker { arrivals: arrivals.clone(), give_up, live: live.clone(), tally: Tally::new()? };
        let send = send.clone();
        Ok(tokio::spawn(worker.work(send)))
    });
    let workers = workers.collect::<anyhow::Result<Vec<_>>>()?;
    try_join_all(workers).await?.into_iter().try_fold(Tally::new()?, Tally::merge)
}

/// Tells of each arrival at its time. tokio's timers are a millisecond late at worst, a thread's sleep a tenth of that.
#[allow(clippy::disallowed_methods, reason = "a thread of its own, on the real clock")]
fn pace(schedule: Schedule, start: Instant, tell: &UnboundedSender<(u64, Instant)>, live: &Live) {
    for number in 0..schedule.requests() {
        let at = schedule.time(start, number);
        std::thread::sleep(at.into_std().saturating_duration_since(std::time::Instant::now()));
        live.due.fetch_add(1, Relaxed);
        if tell.send((number, at)).is_err() {
            return;
        }
    }
}

async fn pace_by_tokio(schedule: Schedule, start: Instant, tell: UnboundedSender<(u64, Instant)>, live: Arc<Live>) {
    for number in 0..schedule.requests() {
        let at = schedule.time(start, number);
        sleep_until(at).await;
        live.due.fetch_add(1, Relaxed);
        if tell.send((number, at)).is_err() {
            return;
        }
    }
}

/// One connection.
struct Worker {
    arrivals: Arc<Mutex<UnboundedReceiver<(u64, Instant)>>>,
    give_up: Instant,
    live: Arc<Live>,
    tally: Tally,
}

impl Worker {
    async fn work<S, F>(mut self, send: S) -> Tally
    where
        S: Fn(u64) -> F,
        F: Future<Output = anyhow::Result<()>>,
    {
        while let Some((number, intended)) = self.next().await {
            let sent = Instant::now();
            if sent >= self.give_up {
                self.tally.unsent += 1;
                self.tally.corrected.saturating_record(micros(intended, sent));
                continue;
            }
            let outcome = send(number).await;
            let answered = Instant::now();
            self.tally.corrected.saturating_record(micros(intended, answered));
            self.tally.service.saturating_record(micros(sent, answered));
            self.live.answered.fetch_add(1, Relaxed);
            if let Err(error) = outcome {
                self.live.errors.fetch_add(1, Relaxed);
                self.tally.errors += 1;
                if self.tally.error_samples.len() < ERROR_SAMPLES {
                    self.tally.error_samples.push(format!("{error:#}"));
                }
            }
        }
        self.tally
    }

    async fn next(&self) -> Option<(u64, Instant)> {
        self.arrivals.lock().await.recv().await
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const MILLI: u64 = 1000;

    /// A service that answers in 1 ms, but for the one time that it stands still: whoever asks then is answered when that is over.
    async fn stalls(connections: usize) -> Tally {
        let start = Instant::now();
        let (from, to) = (start + Duration::from_secs(2), start + Duration::from_secs(3));
        let send = move |_| async move {
            if (from..to).contains(&Instant::now()) {
                sleep_until(to).await;
            }
            sleep(Duration::from_millis(1)).await;
            Ok(())
        };
        let schedule = Schedule { rate: 100.0, length: Duration::from_secs(10) };
        run(schedule, connections, Pacer::Task, Arc::default(), send).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_is_seen_by_whoever_would_have_waited() {
        let tally = stalls(1).await;
        assert_eq!((tally.corrected.len(), tally.service.len(), tally.errors, tally.unsent), (1000, 1000, 0, 0));
        // A tenth of the users came while it stood still: one of them was asked for, the others waited for the connection.
        let (corrected, service) = (tally.corrected.value_at_quantile(0.95), tally.service.value_at_quantile(0.95));
        assert!((400 * MILLI..700 * MILLI).contains(&corrected), "{corrected}");
        assert!(service < 5 * MILLI, "{service}");
        assert!(tally.service.value_at_quantile(0.998) < 5 * MILLI, "one answer of a thousand is no percentile");
        assert!(tally.corrected.max() >= 990 * MILLI && tally.service.max() >= 990 * MILLI);
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_connection_for_everyone_both_see_it() {
        let tally = stalls(200).await;
        let at = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.95);
        assert!(at(&tally.corrected).abs_diff(at(&tally.service)) < 5 * MILLI);
        assert!(at(&tally.corrected) > 400 * MILLI);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_sent_is_told() {
        let send = |_| async {
            sleep(Duration::from_secs(15)).await;
            anyhow::bail!("too late")
        };
        let schedule = Schedule { rate: 10.0, length: Duration::from_secs(1) };
        let live = Arc::new(Live::default());
        let tally = run(schedule, 2, Pacer::Task, live.clone(), send).await.unwrap();
        assert_eq!((tally.errors, tally.unsent, tally.corrected.len()), (2, 8, 10));
        assert_eq!((live.due.load(Relaxed), live.answered.load(Relaxed), live.errors.load(Relaxed)), (10, 2, 2));
        assert_eq!(tally.error_samples, ["too late", "too late"]);
    }
}
