//! Nothing is left, however it ends.

use std::path::PathBuf;
use std::process::Stdio;

use dbopt_diesel::dev::Step;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::*;

async fn assert_nothing_left(dir: &Path, members_before: &[u32]) {
    assert!(!members_before.is_empty());
    until("the processes to end", async || {
        let alive: Vec<u32> = ps("pid=,stat=")
            .lines()
            .filter_map(|line| line.split_once(char::is_whitespace).map(|_| line.split_whitespace()))
            .filter_map(|mut fields| Some((fields.next()?.parse().ok()?, fields.next()?.starts_with('Z'))))
            .filter_map(|(pid, dead): (u32, bool)| (!dead).then_some(pid))
            .collect();
        !members_before.iter().any(|pid| alive.contains(pid)) && members(dir).is_empty()
    })
    .await;
    until("the folder to go", async || !dir.exists()).await;
    assert!(!ps("args=").contains(&*dir.to_string_lossy()), "somebody still works for {}", dir.display());
}

#[tokio::test]
async fn nothing_is_left_after_a_drop_a_stop_or_an_abandoned_start() {
    for stop in [false, true] {
        let cluster = Cluster::builder().start().await.unwrap();
        let (dir, before) = (cluster.dir().to_owned(), members(cluster.dir()));
        cluster.replica(1).freeze().await.unwrap();
        let began = Instant::now();
        if stop {
            cluster.stop().await.unwrap();
            assert!(!dir.exists());
        } else {
            drop(cluster);
            assert!(began.elapsed() < Duration::from_millis(100), "a drop took {:?}", began.elapsed());
        }
        assert_nothing_left(&dir, &before).await;
    }
    let parent = open_folder();
    let dir = parent.path().join("data");
    let copying = std::sync::Arc::new(tokio::sync::Notify::new());
    let seen = std::sync::Arc::clone(&copying);
    let start = small()
        .data_dir(&dir)
        .on_step(move |step| {
            if step == Step::Copying {
                seen.notify_one()
            }
        })
        .start();
    tokio::select! {
        _ = start => panic!("it was to be abandoned half way"),
        () = copying.notified() => {}
    }
    let lock = std::fs::File::open(dir.join("lock")).unwrap();
    until("the guardian to finish", async || lock.try_lock().is_ok()).await;
    assert!(members(&dir).is_empty());
    lock.unlock().unwrap();
    // What it left half done is no obstacle.
    small().data_dir(&dir).start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_after_a_panic() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let cluster = small().start().await.unwrap();
        tell.send((cluster.dir().to_owned(), members(cluster.dir()))).unwrap();
        panic!("on purpose");
    });
    let (dir, before) = told.await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    assert_nothing_left(&dir, &before).await;
}

#[tokio::test]
async fn nothing_is_left_after_sigkill_of_the_owner() {
    for freeze in ["", "frozen"] {
        let (mut owner, dir) = owner(freeze).await;
        let before = members(&dir);
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_nothing_left(&dir, &before).await;
    }
}

#[tokio::test]
async fn nothing_is_left_when_the_guardian_is_killed() {
    let guardian = |dir: &Path| {
        let list = ps("pid=,args=");
        let line =
            list.lines().find(|line| line.contains("dbopt-dev-guardian") && line.contains(&*dir.to_string_lossy()));
        let pid = line.or_else(|| list.lines().find(|line| line.contains(&format!(" {} remove", dir.display()))));
        pid.map(|line| line.split_ascii_whitespace().next().unwrap().to_owned())
    };
    let kill = |pid: &str| assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());

    // Alone: the owner starts another one when it ends.
    let cluster = small().start().await.unwrap();
    let (dir, before) = (cluster.dir().to_owned(), members(cluster.dir()));
    kill(&guardian(&dir).expect("a guardian"));
    until("the guardian to die", async || guardian(&dir).is_none()).await;
    drop(cluster);
    assert_nothing_left(&dir, &before).await;

    // With the owner: the next cluster on this machine clears up.
    let (mut owner, dir) = owner("").await;
    let before = members(&dir);
    kill(&guardian(&dir).expect("a guardian"));
    owner.kill().unwrap();
    owner.wait().unwrap();
    small().replicas(0).start().await.unwrap().stop().await.unwrap();
    assert_nothing_left(&dir, &before).await;
}

/// Not a test: the process that the two tests above kill.
#[tokio::test]
#[ignore = "a helper that waits to be killed"]
async fn owner_to_be_killed() {
    let Ok(what) = std::env::var("DBOPT_TEST_OWNER") else { return };
    let cluster = small().redis(true).start().await.unwrap();
    if what == "frozen" {
        for node in cluster.nodes() {
            node.freeze().await.unwrap();
        }
        cluster.redis().unwrap().freeze().await.unwrap();
    }
    println!("\ncluster at {}", cluster.dir().display());
    std::future::pending().await
}

async fn owner(what: &str) -> (std::process::Child, PathBuf) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remains::owner_to_be_killed", "--ignored", "--nocapture"])
        .env("DBOPT_TEST_OWNER", what)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
    let mut lines = BufReader::new(output).lines();
    loop {
        let Some(line) = timeout(2 * PATIENCE, lines.next_line()).await.unwrap().unwrap() else {
            panic!("the owner ended early: {:?}", child.wait());
        };
        if let Some(dir) = line.strip_prefix("cluster at ") {
            return (child, PathBuf::from(dir));
        }
    }
}
