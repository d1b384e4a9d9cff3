//! R3 on real servers: where calls run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dbopt_tests::{Things, calls, cluster, config, connect};

/// 3.1: every write runs on the primary, whatever the replicas do.
#[tokio::test]
async fn r03_1_all_writes_go_to_the_primary() {
    let cluster = cluster(3).await;
    let db = connect(config(&cluster)).await;
    let things = Things { db: db.clone() };
    let primary = i32::from(cluster.primary().port());
    for _ in 0..30 {
        assert_eq!(things.write_port().await.unwrap(), primary);
    }
    assert_eq!(calls(&db, "write"), [("primary".into(), 30)].into());
}

/// 3.2: reads run on replicas only, and evenly.
#[tokio::test]
async fn r03_2_all_reads_go_to_replicas() {
    let cluster = cluster(3).await;
    let db = connect(config(&cluster)).await;
    let things = Things { db: db.clone() };
    let replicas: Vec<i32> = cluster.replicas().iter().map(|r| r.port().into()).collect();
    for _ in 0..30 {
        assert!(replicas.contains(&things.read_port().await.unwrap()));
    }
    let expected = ["replica-1", "replica-2", "replica-3"].map(|name| (name.to_owned(), 10));
    assert_eq!(calls(&db, "read"), expected.into());
}
