//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::{Things, until};

/// 64 readers that go on until told to stop; counts calls and keeps errors.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    readers: Vec<JoinHandle<(Vec<String>, Duration)>>,
}

impl Crowd {
    /// Readers of `things` that begin at once.
    pub fn of_readers(things: &Things) -> Crowd {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let readers = (0..64)
            .map(|_| {
                let (things, stop, done) = (things.clone(), stop.clone(), done.clone());
                tokio::spawn(async move {
                    let (mut errors, mut longest) = (Vec::new(), Duration::ZERO);
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        if let Err(e) = things.slow_read(0.002).await {
                            errors.push(e.to_string());
                        }
                        longest = longest.max(start.elapsed());
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    (errors, longest)
                })
            })
            .collect();
        Crowd { stop, done, readers }
    }

    /// Waits until the readers have done `n` more calls.
    pub async fn goes_on(&self, n: u64) {
        let target = self.done.load(Ordering::Relaxed) + n;
        until("the readers go on", Duration::from_secs(30), async || self.done.load(Ordering::Relaxed) >= target).await;
    }

    /// All errors, and the longest call.
    pub async fn stop(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut errors, mut longest) = (Vec::new(), Duration::ZERO);
        for reader in self.readers {
            let (mut own, time) = timeout(Duration::from_secs(60), reader).await.expect("no reader hangs").unwrap();
            errors.append(&mut own);
            longest = longest.max(time);
        }
        (errors, longest)
    }
}
