//! Many writers at once, each on a row of its own, and what became of every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dbopt_diesel::{Error, ErrorKind};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::{Things, until};

/// How many write.
pub const WRITERS: usize = 64;

/// [`WRITERS`] writers that go on until told to stop.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<Failure>>>,
    writers: Vec<JoinHandle<Written>>,
}

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether nobody knows if it happened.
    pub unknown: bool,
    /// Why.
    pub text: String,
}

/// What one writer did.
#[derive(Debug)]
pub struct Written {
    /// Its row.
    pub id: i64,
    /// The last value that was acknowledged.
    pub last: i64,
    /// The longest call that was acknowledged.
    pub longest: Duration,
}

impl Writers {
    /// Writers of `things` that begin at once.
    pub fn of(things: &Things) -> Writers {
        let (stop, done, failures) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let writers = (0..WRITERS as i64)
            .map(|id| tokio::spawn(write(things.clone(), id, stop.clone(), done.clone(), Arc::clone(&failures))))
            .collect();
        Writers { stop, done, failures, writers }
    }

    /// Waits until they have written so many times more.
    pub async fn go_on(&self, n: u64) {
        let target = self.done.load(Ordering::Relaxed) + n;
        until("the writers go on", Duration::from_secs(60), async || self.done.load(Ordering::Relaxed) >= target).await;
    }

    /// What failed so far.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().clone()
    }

    /// What each wrote, and what failed.
    pub async fn stop(self) -> (Vec<Written>, Vec<Failure>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for writer in self.writers {
            all.push(timeout(Duration::from_secs(60), writer).await.expect("no writer hangs").expect("no panic"));
        }
        let failures = std::mem::take(&mut *self.failures.lock());
        (all, failures)
    }
}

async fn write(
    things: Things,
    id: i64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<Failure>>>,
) -> Written {
    let mut written = Written { id, last: 0, longest: Duration::ZERO };
    let mut value = 0;
    while !stop.load(Ordering::Relaxed) {
        value += 1;
        let began = Instant::now();
        match things.set(id, value).await {
            Ok(_) => {
                written.last = value;
                written.longest = written.longest.max(began.elapsed());
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let kind = Error::of(&error).map(|error| error.kind().clone());
                let unknown = matches!(kind, Some(ErrorKind::OutcomeUnknown { .. }));
                failures.lock().push(Failure { began, ended: Instant::now(), unknown, text: error.to_string() });
            }
        }
    }
    written
}
