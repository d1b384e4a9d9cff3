//! Simulated users: real HTTP traffic at a running service, and an exact check that everyone reads their own writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::models::Flight;
use crate::requests::{a_look, scheduled_flights, success};

/// Header that carries what a user has written from one request to the next.
const TOKEN: &str = "dbopt-token";
/// Flights that only one user writes, so that nobody else can explain a read that misses a write.
const FLIGHTS_PER_USER: usize = 40;
/// Flights that everyone books, so that buyers do meet.
const POPULAR_FLIGHTS: usize = 30;
/// The first few errors are kept: the rest is usually more of the same.
const ERROR_SAMPLES: usize = 5;

/// Users of a service.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Where the service listens.
    pub base: Url,
    /// How many users act at the same time; each waits for an answer before the next request.
    pub users: usize,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Requests answered.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
}

/// What a run has shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Requests that failed: no answer, a 5xx, or an answer that makes no sense. A sold-out flight is no error.
    pub errors: u64,
    /// Reads that missed a write of the same user.
    pub stale_reads: u64,
    /// Searches, boards, flights and statistics, including the reads that check a write.
    pub reads: u64,
    /// Delays and cancellations.
    pub writes: u64,
    /// Bookings.
    pub criticals: u64,
    /// Median of a read, in microseconds, as the user sees it.
    pub read_p50_us: u64,
    /// One read in a hundred takes longer than this many microseconds.
    pub read_p99_us: u64,
    /// One delay or cancellation in a hundred takes longer than this many microseconds.
    pub write_p99_us: u64,
    /// The first errors and stale reads, for the reader to start from.
    pub error_samples: Vec<String>,
}

impl Traffic {
    /// Traffic of 32 users at the service that listens at `base`.
    pub fn new(base: Url) -> Self {
        Traffic { base, users: 32 }
    }

    /// Lets the users act for `duration`, and tells `on_progress` several times a second how it goes.
    ///
    /// # Errors
    /// When the service cannot be reached, or has too few scheduled flights for so many users.
    pub async fn run(&self, duration: Duration, on_progress: impl Fn(Progress)) -> anyhow::Result<Report> {
        let client = Client::builder().timeout(Duration::from_secs(10)).build()?;
        let mut flights = self.scheduled_flights(&client).await?;
        let popular = flights.split_off(flights.len() - POPULAR_FLIGHTS);

        let live = Live::default();
        let start = Instant::now();
        let users = flights.chunks(FLIGHTS_PER_USER).enumerate().map(|(number, own)| {
            let user = User {
                traffic: self,
                client: &client,
                name: format!("user-{number}"),
                own: own.to_vec(),
                popular: &popular,
                random: fastrand::Rng::with_seed(number as u64),
                live: &live,
                tally: Tally::new()?,
            };
            Ok(user.act_until(start + duration))
        });
        let users = users.collect::<anyhow::Result<Vec<_>>>()?;
        let ticking = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(200));
            loop {
                ticks.tick().await;
                on_progress(live.progress(start.elapsed()));
            }
        };
        let tallies = tokio::select! {
            tallies = join_all(users) => tallies,
            () = ticking => Vec::new(),
        };
        on_progress(live.progress(start.elapsed()));
        tallies.into_iter().try_fold(Tally::new()?, Tally::merge).map(Tally::report)
    }

    /// Enough flights that have not left yet: those of the users first, the popular ones last.
    async fn scheduled_flights(&self, client: &Client) -> anyhow::Result<Vec<Flight>> {
        scheduled_flights(client, &self.base, self.users * FLIGHTS_PER_USER + POPULAR_FLIGHTS).await
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        Ok(self.base.join(path)?)
    }
}

/// What the progress bar shows while the users act.
#[derive(Default)]
struct Live {
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Live {
    fn progress(&self, elapsed: Duration) -> Progress {
        Progress { elapsed, requests: self.requests.load(Relaxed), errors: self.errors.load(Relaxed) }
    }
}

/// How long a user looks at an answer, on average.
const MEAN_PAUSE_MS: u64 = 20;

struct User<'a> {
    traffic: &'a Traffic,
    client: &'a Client,
    name: String,
    own: Vec<Flight>,
    popular: &'a [Flight],
    random: fastrand::Rng,
    live: &'a Live,
    tally: Tally,
}

impl User<'_> {
    async fn act_until(mut self, end: Instant) -> Tally {
        while Instant::now() < end {
            let done = match self.random.u32(..100) {
                0..70 => self.look_around().await,
                70..90 => self.write_and_check().await,
                _ => self.book().await,
            };
            if let Err(error) = done {
                self.live.errors.fetch_add(1, Relaxed);
                self.tally.errors += 1;
                self.tally.sample(format!("{}: {error:#}", self.name));
            }
            // People look at what they got. Without a pause this would measure how many servers fit on two cores.
            let pause = Duration::from_millis(self.random.u64(..2 * MEAN_PAUSE_MS));
            tokio::time::sleep(pause).await;
        }
        self.tally
    }

    async fn look_around(&mut self) -> anyhow::Result<()> {
        let flight = self.any_flight();
        let path = a_look(&flight, &mut self.random);
        self.read::<IgnoredAny>(&path, None).await?;
        Ok(())
    }

    /// Writes a flight that nobody else writes, and looks at it at once: the answer must be the flight as written.
    async fn write_and_check(&mut self) -> anyhow::Result<()> {
        let chosen = self.random.usize(..self.own.len());
        let id = self.own[chosen].id;
        let cancel = self.random.u32(..10) == 0 && self.own.len() > 1;
        let (path, body) = match cancel {
            true => (format!("flights/{id}/cancel"), json!({})),
            false => (format!("flights/{id}/delay"), json!({ "minutes": self.random.u32(1..=10) })),
        };
        let started = Instant::now();
        let response = self.send(Method::POST, &path, None, Some(body)).await?;
        self.tally.writes.saturating_record(micros(started));
        let response = success(response).await?;
        let token = response.headers().get(TOKEN).cloned();
        let token = token.with_context(|| format!("the answer to POST {path} has no {TOKEN} header"))?;
        let written: Flight = response.json().await?;
        if cancel {
            self.own.swap_remove(chosen);
        }

        // The one was written through the cache, the other invalidated in it.
        let path = if self.random.bool() { format!("flights/{id}") } else { format!("flights/{id}/status") };
        let seen: Flight = self.read(&path, Some(token)).await?;
        if seen != written {
            self.tally.stale_reads += 1;
            let state = |flight: &Flight| format!("{} +{}", flight.status.as_str(), flight.dep_delay.unwrap_or(0));
            self.tally.sample(format!("stale: flight {id} is {}, seen as {}", state(&written), state(&seen)));
        }
        Ok(())
    }

    async fn book(&mut self) -> anyhow::Result<()> {
        let flight = self.popular[self.random.usize(..self.popular.len())].id;
        let body = json!({ "passenger": self.name });
        let response = self.send(Method::POST, &format!("flights/{flight}/bookings"), None, Some(body)).await?;
        self.tally.criticals += 1;
        if response.status() != StatusCode::CONFLICT {
            success(response).await?;
        }
        Ok(())
    }

    async fn read<T: DeserializeOwned>(&mut self, path: &str, token: Option<HeaderValue>) -> anyhow::Result<T> {
        let started = Instant::now();
        let response = success(self.send(Method::GET, path, token, None).await?).await?;
        let answer = response.json().await.with_context(|| format!("the answer to GET {path} is not as expected"))?;
        self.tally.reads.saturating_record(micros(started));
        Ok(answer)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<HeaderValue>,
        body: Option<Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self.client.request(method, self.traffic.url(path)?).header("x-user", &self.name);
        if let Some(token) = token {
            request = request.header(TOKEN, token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        self.live.requests.fetch_add(1, Relaxed);
        Ok(response)
    }

    /// Mostly one that everybody looks at, as people do.
    fn any_flight(&mut self) -> Flight {
        let from = if self.random.u32(..4) == 0 { &self.own } else { self.popular };
        self.random.choice(from).unwrap_or(&self.own[0]).clone()
    }
}

/// What one user has seen, then what all have.
struct Tally {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    criticals: u64,
    errors: u64,
    stale_reads: u64,
    samples: Vec<String>,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3);
        let (reads, writes) = (histogram()?, histogram()?);
        Ok(Tally { reads, writes, criticals: 0, errors: 0, stale_reads: 0, samples: Vec::new() })
    }

    fn sample(&mut self, message: String) {
        if self.samples.len() < ERROR_SAMPLES {
            self.samples.push(message);
        }
    }

    fn merge(mut self, other: Tally) -> anyhow::Result<Self> {
        self.reads.add(&other.reads)?;
        self.writes.add(&other.writes)?;
        self.criticals += other.criticals;
        self.errors += other.errors;
        self.stale_reads += other.stale_reads;
        other.samples.into_iter().for_each(|sample| self.sample(sample));
        Ok(self)
    }

    fn report(self) -> Report {
        Report {
            errors: self.errors,
            stale_reads: self.stale_reads,
            reads: self.reads.len(),
            writes: self.writes.len(),
            criticals: self.criticals,
            read_p50_us: self.reads.value_at_quantile(0.5),
            read_p99_us: self.reads.value_at_quantile(0.99),
            write_p99_us: self.writes.value_at_quantile(0.99),
            error_samples: self.samples,
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
