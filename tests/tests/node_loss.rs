//! A node dies or freezes under load: what callers notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_tests::crowd::Crowd;
use dbopt_tests::{Things, cluster, config, connect, until};
use tokio::time::Instant;

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
    // Writes that wait are in r11 and in takeover.
    (config.retry.attempts, config.failover.wait_limit) = (0, 0);
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
