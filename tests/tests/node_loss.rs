//! A node dies or freezes under load: what callers notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dbopt_tests::{Things, cluster, config, connect, until};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// 64 readers that go on until told to stop; counts calls and keeps errors.
struct Crowd {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    readers: Vec<JoinHandle<(Vec<String>, Duration)>>,
}

impl Crowd {
    fn of_readers(things: &Things) -> Crowd {
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
    async fn goes_on(&self, n: u64) {
        let target = self.done.load(Ordering::Relaxed) + n;
        until("the readers go on", Duration::from_secs(30), async || self.done.load(Ordering::Relaxed) >= target).await;
    }

    /// All errors, and the longest call.
    async fn stop(self) -> (Vec<String>, Duration) {
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

fn state_of(things: &Things, node: &str) -> String {
    let status = things.db.status();
    let node = status.nodes.iter().find(|n| &*n.name == node).unwrap();
    serde_json::to_value(node.state).unwrap().as_str().unwrap().to_owned()
}

/// A replica is killed under 64 readers: those in flight are run again elsewhere, nobody sees an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_costs_no_reader_an_error() {
    let cluster = cluster(3).await;
    let things = Things { db: connect(config(&cluster)).await };
    let crowd = Crowd::of_readers(&things);
    crowd.goes_on(500).await;
    cluster.replica(2).kill().await.unwrap();
    crowd.goes_on(2000).await;
    until("it is noticed", Duration::from_secs(5), async || state_of(&things, "replica-2") == "unreachable").await;
    cluster.replica(2).start().await.unwrap();
    until("it is back", Duration::from_secs(10), async || state_of(&things, "replica-2") == "healthy").await;
    crowd.goes_on(500).await;
    let (errors, longest) = crowd.stop().await;
    println!("longest call {longest:?}");
    assert_eq!(errors, Vec::<String>::new());
}

/// A replica is frozen under 64 readers: its calls are run again elsewhere as soon as it is found out, and later calls avoid it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_is_left_within_the_deadline() {
    let cluster = cluster(3).await;
    let mut config = config(&cluster);
    config.call.timeout = Duration::from_secs(15);
    let things = Things { db: connect(config).await };
    let crowd = Crowd::of_readers(&things);
    crowd.goes_on(500).await;
    cluster.replica(2).freeze().await.unwrap();
    until("it is noticed", Duration::from_secs(10), async || state_of(&things, "replica-2") == "unreachable").await;
    crowd.goes_on(1000).await;
    let before = dbopt_tests::calls(&things.db, "read")["replica-2"];
    crowd.goes_on(1000).await;
    assert_eq!(dbopt_tests::calls(&things.db, "read")["replica-2"], before, "later calls avoid it");
    let (errors, longest) = crowd.stop().await;
    println!("longest call {longest:?}");
    assert_eq!(errors, Vec::<String>::new());
    assert!(longest < Duration::from_secs(15), "{longest:?}");
    cluster.replica(2).thaw().await.unwrap();
    until("it is back", Duration::from_secs(15), async || state_of(&things, "replica-2") == "healthy").await;
}

/// The only server is frozen: a call ends at its deadline with an error that says so, not later.
#[tokio::test]
async fn with_nowhere_to_go_a_call_ends_at_its_deadline() {
    let cluster = cluster(0).await;
    let mut config = config(&cluster);
    config.call.timeout = Duration::from_secs(1);
    config.cluster.probe_misses = 100;
    let things = Things { db: connect(config).await };
    cluster.primary().freeze().await.unwrap();
    let start = Instant::now();
    let error = things.read_port().await.unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    assert!(error.contains("stopped after") && error.contains("running its statements"), "{error}");
    cluster.primary().thaw().await.unwrap();
    until("calls work again", Duration::from_secs(5), async || things.read_port().await.is_ok()).await;
}

/// The primary is killed: reads go on without an error, writes are refused at once with the cause, and work again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_costs_no_reader_an_error() {
    let cluster = cluster(2).await;
    let mut config = config(&cluster);
    // A write that waits for the primary to return is in r11.
    config.retry.attempts = 0;
    let things = Things { db: connect(config).await };
    let crowd = Crowd::of_readers(&things);
    crowd.goes_on(300).await;
    cluster.primary().kill().await.unwrap();
    let start = Instant::now();
    let error = things.set(1, 1).await.unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(error.contains("primary"), "{error}");
    crowd.goes_on(1500).await;
    cluster.primary().start().await.unwrap();
    until("writes work again", Duration::from_secs(10), async || things.set(1, 1).await.is_ok()).await;
    crowd.goes_on(300).await;
    let (errors, _) = crowd.stop().await;
    assert_eq!(errors, Vec::<String>::new());
}
