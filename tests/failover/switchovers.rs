//! One primary after the other by plan: no caller sees an error, no session is left behind.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, LocalAgent};
use dbopt_tests::supervised::{AtWork, supervisor, whole};
use dbopt_tests::writers::Writers;
use dbopt_tests::{Things, config, connect, prepared, sessions, until};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(n: usize) -> ExitCode {
    let cluster = Arc::new(prepared(Cluster::builder().replicas(2).redis(false)).await);
    let things = Things { db: connect(config(&cluster)).await };
    let writers = Writers::of(&things);
    let readers = tokio::spawn(read(things.clone()));
    writers.go_on(500).await;
    println!("run  primary    took    failed calls  sessions");
    let mut seen = Vec::new();
    for number in 0..n {
        let mut one = supervisor(&cluster, false).with_agent(Arc::new(LocalAgent::new(cluster.clone())));
        let began = Instant::now();
        let primary = one.switchover(None).await.expect("a replica is ready");
        until("the application follows", PATIENCE, async || things.db.status().primary.as_deref() == Some(&*primary))
            .await;
        writers.go_on(100).await;
        let took = began.elapsed();
        let at_work = AtWork::begin(one);
        whole(&cluster, number as u32 + 2).await;
        let names = "SELECT count(*)::text FROM pg_stat_replication WHERE state = 'streaming'";
        let leader = cluster.node(&primary).expect("it is one of them");
        until("all follow", PATIENCE, async || leader.query_text(names).await.unwrap().as_deref() == Some("2")).await;
        drop(at_work);
        writers.go_on(500).await;
        let open: i64 = sessions(&cluster).await.values().sum();
        seen.push(open);
        println!("{number:>3}  {primary:<10} {:>4.2} s {:>13} {open:>9}", took.as_secs_f64(), writers.failures().len());
    }
    let read_failed = readers.is_finished();
    readers.abort();
    let (written, failures) = writers.stop().await;
    let mut lost = 0;
    for written in &written {
        let sql = format!("SELECT value::text FROM things WHERE id = {}", written.id);
        let value = cluster.current_primary().await.expect("a primary").query_text(&sql).await.expect("its answer");
        lost += usize::from(value.and_then(|value| value.parse().ok()) != Some(written.last));
    }
    let longest = written.iter().map(|written| written.longest).max().unwrap_or_default();
    for failure in failures.iter().take(5) {
        println!("{}", failure.text);
    }
    let most = *seen.iter().max().unwrap_or(&0);
    let pools = things.db.status().nodes.into_iter().flat_map(|node| node.pools);
    let room: usize = pools.map(|pool| pool.max).sum();
    println!(
        "{n} changes of the primary: {} calls failed, {lost} writes lost, the longest write took {longest:.2?}; {most} sessions at most, the \
         pools have room for {room}",
        failures.len()
    );
    if read_failed {
        println!("a read failed");
    }
    if !read_failed && failures.is_empty() && lost == 0 && most <= room as i64 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Reads beside the writers: what fails is a failure of theirs.
async fn read(things: Things) {
    loop {
        things.value(1).await.expect("a read never fails by plan");
    }
}
