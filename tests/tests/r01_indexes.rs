//! R1.3: missing indexes are found from what is run, and proved. On real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use dbopt_diesel::advise::{Options, Verified, advise};
use dbopt_diesel::dev::Cluster;
use dbopt_tests::advise_corpus::{FLIGHTS, SHOP, Schema};

/// A server with a database of `schema`, and a copy of it.
async fn filled(schema: Schema) -> (Cluster, String, Options) {
    let cluster = Cluster::builder().replicas(0).redis(false).database(schema.name).start().await.unwrap();
    for sql in schema.setup {
        cluster.primary().execute(sql).await.unwrap();
    }
    cluster.primary().execute("VACUUM").await.unwrap();
    cluster.primary().execute("ANALYZE").await.unwrap();
    let copy = format!("{}_copy", schema.name);
    cluster.create_database_from(&copy, schema.name).await.unwrap();
    let url = cluster.primary().url();
    let options = Options { scratch: Some(cluster.primary().url_for(&copy)), ..Options::default() };
    (cluster, url, options)
}

#[derive(Default)]
struct Score {
    advised: usize,
    right: usize,
    wanted: usize,
    found: usize,
}

async fn score(schema: Schema) -> Score {
    let (_cluster, url, options) = filled(schema).await;
    let mut score = Score::default();
    for labelled in schema.statements() {
        let report = advise(&url, &labelled.alone(), &options).await.unwrap();
        assert!(report.skipped.is_empty(), "{}: {:?}", labelled.sql, report.skipped);
        let advised: BTreeSet<&str> = report.missing.iter().map(|advice| advice.index.as_str()).collect();
        let right = advised.iter().filter(|index| labelled.wanted.iter().flatten().any(|wanted| wanted == *index)).count();
        let found = labelled.wanted.iter().filter(|some| some.iter().any(|index| advised.contains(index.as_str()))).count();
        if right < advised.len() || found < labelled.wanted.len() {
            println!("{}\n  wanted:   {:?}\n  advised:  {advised:?}\n  rejected: {:?}", labelled.sql, labelled.wanted, report.rejected);
        }
        score.advised += advised.len();
        score.right += right;
        score.wanted += labelled.wanted.len();
        score.found += found;
        for advice in &report.missing {
            assert_eq!(advice.verified, Verified::Scratch);
            assert!(advice.name.len() <= 63 && advice.size_bytes > 0);
        }
    }
    score
}

fn judge(name: &str, score: &Score) {
    let part = |some: usize, all: usize| some as f64 / all.max(1) as f64;
    let (precision, recall) = (part(score.right, score.advised), part(score.found, score.wanted));
    println!("{name}: precision {precision:.3} ({} of {}), recall {recall:.3} ({} of {})", score.right, score.advised, score.found, score.wanted);
    assert!(precision >= 0.95, "{name}: precision {precision}");
    assert!(recall >= 0.9, "{name}: recall {recall}");
}

#[tokio::test]
async fn r01_3_indexes_that_the_flights_miss_are_found_and_no_others() {
    judge("flights", &score(FLIGHTS).await);
}

#[tokio::test]
async fn r01_3_indexes_that_the_shop_misses_are_found_and_no_others() {
    judge("shop", &score(SHOP).await);
}
