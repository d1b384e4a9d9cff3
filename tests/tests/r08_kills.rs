//! R8: migrators and servers that are killed, and many that start at once, each in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Output, Stdio};
use std::time::Duration;

use dbopt_tests::migrations::{Folder, server, value};
use futures_util::future::join_all;
use tokio::process::Command;

fn kills() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kills"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The short form; CONTRIBUTING.md tells how all fifty moments are judged.
#[tokio::test]
async fn r08_3_whoever_is_killed_at_whatever_moment_a_version_boundary_is_there_and_the_history_agrees() {
    let Output { status, stdout, stderr } = kills().args(["--runner", "6", "--server", "3"]).output().await.unwrap();
    println!("{}", String::from_utf8_lossy(&stdout));
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[tokio::test]
async fn r08_2_eight_processes_that_start_at_once_apply_each_migration_once_with_an_index_built_beside() {
    let (cluster, _) = server().await;
    let folder = Folder::of(&[
        (
            "1_a",
            "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 20000);",
            "DROP TABLE a;",
        ),
        ("3_more", "INSERT INTO a SELECT 0 FROM pg_sleep(0.2);", "DELETE FROM a WHERE id = 0;"),
    ]);
    folder.add_alone("2_index", "CREATE INDEX CONCURRENTLY a_id ON a ((id + 1));", "DROP INDEX CONCURRENTLY a_id;");
    let starting = (0..8).map(async |_| {
        let mut one = kills();
        one.args(["--url", &cluster.primary().url(), "--folder"]).arg(folder.path());
        let ended =
            tokio::time::timeout(Duration::from_secs(120), one.output()).await.expect("none waits for ever").unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap().trim().parse::<usize>().unwrap()
    });
    assert_eq!(join_all(starting).await.into_iter().sum::<usize>(), 3);
    let told = "SELECT string_agg(version || outcome, ',' ORDER BY version) FROM __dbopt_schema_history";
    assert_eq!(value(&cluster, told).await, "1applied,2applied,3applied");
    assert_eq!(value(&cluster, "SELECT count(*)::text || indisvalid FROM a, pg_index WHERE indexrelid = 'a_id'::regclass GROUP BY indisvalid").await, "20001true");
}
