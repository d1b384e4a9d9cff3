//! A caller sees what it has written, on whichever node it reads, whatever the replicas' lag.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::Context;
use dbopt_tests::{Things, calls, cluster, config, connect};
use tokio::time::Instant;

const PAIRS: i64 = 100_000;
const WORKERS: i64 = 64;

/// 100,000 writes, each followed by a read of its own caller, while two of three replicas lag by different times: none is missed.
/// The replica that keeps up serves most of them, so the promise is not kept by avoiding replicas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_misses_its_own_callers_write() {
    let cluster = cluster(3).await;
    cluster.replica(1).delay_replay(Duration::from_millis(300)).await.unwrap();
    cluster.replica(2).delay_replay(Duration::from_millis(30)).await.unwrap();
    let mut config = config(&cluster);
    // The same row again and again: durability is not what is tested here.
    config.cluster.probe_interval = Duration::from_millis(200);
    let things = Things { db: connect(config).await };
    let start = Instant::now();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let things = things.clone();
            tokio::spawn(async move {
                let mut missed = 0;
                for round in 0..PAIRS / WORKERS {
                    // Each pair has a context of its own, as a request has.
                    let seen = Context::anonymous().scope(async {
                        things.set(worker, round).await?;
                        things.value(worker).await
                    });
                    missed += u32::from(seen.await.unwrap() != Some(round));
                }
                missed
            })
        })
        .collect();
    let mut missed = 0;
    for worker in workers {
        missed += worker.await.unwrap();
    }
    println!("{PAIRS} pairs in {:?}; reads: {:?}", start.elapsed(), calls(&things.db, "read"));
    assert_eq!(missed, 0);
    let replicas: u64 = calls(&things.db, "read").iter().filter(|(node, _)| *node != "primary").map(|(_, n)| n).sum();
    assert!(replicas > 0, "the replicas serve too");
}

/// Without a context nothing is promised, and that is seen: the test above can fail.
#[tokio::test]
async fn without_a_context_a_lagging_replica_shows_old_data() {
    let cluster = cluster(1).await;
    let things = Things { db: connect(config(&cluster)).await };
    things.set(1, 1).await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(5)).await.unwrap();
    cluster.replica(1).pause_replay().await.unwrap();
    things.set(1, 2).await.unwrap();
    assert_eq!(things.value(1).await.unwrap(), Some(1));
    let seen = Context::anonymous().scope(async {
        things.set(1, 3).await?;
        things.value(1).await
    });
    assert_eq!(seen.await.unwrap(), Some(3));
}

/// The token carries the promise to another instance, which has written nothing itself.
#[tokio::test]
async fn a_token_carries_the_promise_to_another_instance() {
    let cluster = cluster(1).await;
    let writer = Things { db: connect(config(&cluster)).await };
    let reader = Things { db: connect(config(&cluster)).await };
    writer.set(1, 1).await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(5)).await.unwrap();
    cluster.replica(1).pause_replay().await.unwrap();
    let token = Context::anonymous()
        .scope(async {
            writer.set(1, 2).await.unwrap();
            Context::token()
        })
        .await
        .expect("a write leaves a token");
    assert_eq!(reader.value(1).await.unwrap(), Some(1), "without the token it reads the old value");
    let carried = token.to_string().parse().unwrap();
    let seen = Context::anonymous().with_token(carried).scope(reader.value(1)).await;
    assert_eq!(seen.unwrap(), Some(2));
}

/// A write outside the framework's transaction, and one in the user's own, leave a token too.
#[tokio::test]
async fn every_way_of_writing_leaves_a_token() {
    let cluster = cluster(1).await;
    let things = Things { db: connect(config(&cluster)).await };
    cluster.replica(1).pause_replay().await.unwrap();
    Context::anonymous()
        .scope(async {
            things.set_without_transaction(1, 7).await.unwrap();
            assert_eq!(things.value(1).await.unwrap(), Some(7));
            let db = things.db.clone();
            db.transaction(async |tx| things.set_in(tx, 1, 8).await).await.unwrap();
            assert_eq!(things.value(1).await.unwrap(), Some(8));
            things.critical_set(1, 9).await.unwrap();
            assert_eq!(things.value(1).await.unwrap(), Some(9));
        })
        .await;
}
