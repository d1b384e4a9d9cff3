//! The development cluster: starts fast, fails on command, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails shall say where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, ClusterBuilder, DevError, Node, Shutdown, Step};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
/// A server that has not answered by then is taken for silent.
const SILENCE: Duration = Duration::from_millis(300);

fn small() -> ClusterBuilder {
    Cluster::builder().replicas(1).redis(false)
}

async fn count(node: &Node) -> Option<String> {
    node.query_text("SELECT count(*) FROM t").await.unwrap()
}

async fn with_table(cluster: &Cluster) {
    cluster.primary().execute("CREATE TABLE t (i int)").await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn ps(columns: &str) -> String {
    let output = Command::new("ps").args(["-axo", columns]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Every living process that works in the cluster's folder: found another way than the guardian finds them.
fn members(dir: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let inside = processes.filter(|process| {
        let cwd = std::fs::read_link(process.path().join("cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(dir) || cwd.to_string_lossy().starts_with(&format!("{}/", dir.display())))
    });
    inside.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

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
async fn starts_three_streaming_replicas_and_redis_in_under_five_seconds() {
    // The best of three, because other tests use the same two cores.
    let mut cluster = Cluster::builder().start().await.unwrap();
    for _ in 0..2 {
        println!("started in {:?}", cluster.started_in());
        if cluster.started_in() > Duration::from_secs(5) {
            cluster.stop().await.unwrap();
            cluster = Cluster::builder().start().await.unwrap();
        }
    }
    assert!(cluster.started_in() < Duration::from_secs(5), "{:?}", cluster.started_in());
    let names: Vec<_> = cluster.nodes().iter().map(Node::name).collect();
    assert_eq!(names, ["primary", "replica-1", "replica-2", "replica-3"]);
    let streaming =
        "SELECT string_agg(application_name || ':' || state, ' ' ORDER BY application_name) FROM pg_stat_replication";
    until("all to stream", async || {
        cluster.primary().query_text(streaming).await.unwrap().as_deref()
            == Some("replica-1:streaming replica-2:streaming replica-3:streaming")
    })
    .await;
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE active AND wal_status = 'reserved'";
    assert_eq!(cluster.primary().query_text(slots).await.unwrap().as_deref(), Some("3"));
    with_table(&cluster).await;
    for replica in cluster.replicas() {
        assert_eq!(count(replica).await.as_deref(), Some("0"));
        assert!(!replica.is_primary().await.unwrap() && replica.port() < 32768);
    }
    assert_eq!(cluster.current_primary().await.unwrap().name(), "primary");
    assert!(cluster.node("replica-2").is_some() && cluster.node("replica-4").is_none());
    let settings = "SELECT concat_ws(' ', current_setting('data_checksums'), current_setting('wal_log_hints'), \
                    current_setting('full_page_writes'), current_setting('fsync'), current_setting('lc_messages'), \
                    current_setting('unix_socket_directories'), current_setting('max_connections'))";
    for node in cluster.nodes() {
        assert_eq!(node.query_text(settings).await.unwrap().as_deref(), Some("on on on off C  200"));
    }
    assert_eq!(redis_says(cluster.redis().unwrap().port()).await.unwrap(), "+PONG\r\n");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_replica_can_follow_a_replica() {
    let cluster = Cluster::builder().cascade(3, 2).redis(false).start().await.unwrap();
    let followers = "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication";
    let direct = cluster.primary().query_text(followers).await.unwrap();
    let cascaded = cluster.replica(2).query_text(followers).await.unwrap();
    assert_eq!((direct.as_deref(), cascaded.as_deref()), (Some("replica-1 replica-2"), Some("replica-3")));
    assert_eq!(cluster.replica(3).upstream(), Some("replica-2"));
    with_table(&cluster).await;
    assert_eq!(count(cluster.replica(3)).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn two_clusters_start_side_by_side_with_settings_of_their_own() {
    let one = small().database("one").setting("work_mem", "5MB").start();
    let two = Cluster::builder().replicas(0).database("Zwei ü").durable(true).start();
    let (one, two) = tokio::try_join!(one, two).unwrap();
    assert_eq!(one.replica(1).query_text("SHOW work_mem").await.unwrap().as_deref(), Some("5MB"));
    assert_eq!(two.primary().query_text("SHOW fsync").await.unwrap().as_deref(), Some("on"));
    assert_eq!(two.primary().query_text("SELECT current_database()").await.unwrap().as_deref(), Some("Zwei ü"));
    assert!(one.dir() != two.dir() && one.redis().is_none() && two.replicas().is_empty());
}

#[tokio::test]
async fn no_process_runs_as_root() {
    let cluster = Cluster::builder().start().await.unwrap();
    let owner = std::process::id().to_string();
    let ours = members(cluster.dir());
    assert!(ours.len() > 20, "{ours:?}");
    let guardians =
        |line: &str| line.contains("dbopt-dev-guardian") || line.contains(&*cluster.dir().to_string_lossy());
    for line in ps("uid=,pid=,args=").lines().map(str::trim_start) {
        let mut fields = line.split_ascii_whitespace();
        let (uid, pid) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if pid != owner && (ours.iter().any(|member| member.to_string() == pid) || guardians(line)) {
            assert_ne!(uid, "0", "{line}");
        }
    }
}

#[tokio::test]
async fn a_killed_primary_comes_back_on_its_port_with_its_data() {
    let cluster = small().start().await.unwrap();
    with_table(&cluster).await;
    cluster.primary().execute("INSERT INTO t VALUES (1)").await.unwrap();
    let (port, pid) = (cluster.primary().port(), cluster.primary().pid());
    let family =
        ps("ppid=,pid=").lines().filter(|line| line.trim_start().starts_with(&pid.unwrap().to_string())).count();
    assert!(family > 3);
    cluster.primary().kill().await.unwrap();
    assert!(!cluster.primary().is_running() && cluster.primary().pid().is_none());
    let refused = cluster.primary().execute("SELECT 1").await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert!(matches!(cluster.primary().freeze().await, Err(DevError::NotRunning { .. })));
    assert!(cluster.current_primary().await.is_none());
    cluster.primary().kill().await.unwrap();

    cluster.primary().start().await.unwrap();
    cluster.primary().start().await.unwrap();
    assert_eq!((cluster.primary().port(), count(cluster.primary()).await.as_deref()), (port, Some("1")));
    cluster.replica(1).wait_streaming(PATIENCE).await.unwrap();
    cluster.primary().execute("INSERT INTO t VALUES (2)").await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    assert_eq!(count(cluster.replica(1)).await.as_deref(), Some("2"));
}

#[tokio::test]
async fn stops_are_smart_fast_or_immediate() {
    let cluster = small().start().await.unwrap();
    let replica = cluster.replica(1);
    for how in [Shutdown::Smart, Shutdown::Fast, Shutdown::Immediate] {
        replica.stop(how).await.unwrap();
        assert!(!replica.is_running(), "{how:?}");
        replica.start().await.unwrap();
        replica.wait_streaming(PATIENCE).await.unwrap();
    }
    let before = replica.pid();
    replica.freeze().await.unwrap();
    replica.restart().await.unwrap();
    assert!(replica.is_running() && replica.pid() != before);
}

#[tokio::test]
async fn a_frozen_node_takes_connections_and_says_nothing_until_it_thaws() {
    let cluster = small().start().await.unwrap();
    with_table(&cluster).await;
    let primary = cluster.primary();
    let open_session = primary.execute("SELECT pg_sleep(0.5); INSERT INTO t VALUES (1)");
    let meanwhile = async {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        until("the session", async || primary.query_text(busy).await.unwrap().as_deref() == Some("1")).await;
        primary.freeze().await.unwrap();
        assert!(primary.is_running());
        let data = primary.data_dir();
        for member in members(&data) {
            let stat = std::fs::read_to_string(format!("/proc/{member}/stat")).unwrap();
            assert!(stat.contains(") T "), "{stat}");
        }
        TcpStream::connect(("127.0.0.1", primary.port())).await.unwrap();
        assert!(timeout(SILENCE, primary.query_text("SELECT 1")).await.is_err());
        assert_eq!(count(cluster.replica(1)).await.as_deref(), Some("0"));
        primary.thaw().await.unwrap();
    };
    let (session, ()) = tokio::join!(open_session, meanwhile);
    session.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    assert_eq!(count(cluster.replica(1)).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn replay_is_delayed_paused_and_let_go() {
    let cluster = small().start().await.unwrap();
    with_table(&cluster).await;
    let (primary, replica) = (cluster.primary(), cluster.replica(1));

    replica.delay_replay(Duration::from_secs(3600)).await.unwrap();
    primary.execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert!(cluster.wait_caught_up(SILENCE).await.is_err());
    assert_eq!(count(replica).await.as_deref(), Some("0"));
    replica.wait_streaming(PATIENCE).await.unwrap();
    replica.delay_replay(Duration::ZERO).await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    assert_eq!(count(replica).await.as_deref(), Some("1"));

    replica.pause_replay().await.unwrap();
    primary.execute("INSERT INTO t VALUES (2)").await.unwrap();
    let late = cluster.wait_caught_up(SILENCE).await.unwrap_err();
    assert!(late.to_string().contains("replica-1 was not up to date within 300ms; last seen: at 0/"), "{late}");
    replica.resume_replay().await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    assert_eq!(count(replica).await.as_deref(), Some("2"));
    for refused in
        [primary.pause_replay().await, primary.delay_replay(SILENCE).await, primary.wait_streaming(SILENCE).await]
    {
        assert!(matches!(refused, Err(DevError::NotAStandby { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn settings_change_while_it_runs_and_errors_speak() {
    let cluster = small().replicas(0).start().await.unwrap();
    let node = cluster.primary();
    node.set("work_mem", "7MB").await.unwrap();
    assert_eq!(node.query_text("SHOW work_mem").await.unwrap().as_deref(), Some("7MB"));
    node.unset("work_mem").await.unwrap();
    assert_eq!(node.query_text("SHOW work_mem").await.unwrap().as_deref(), Some("4MB"));
    let wrong = node.execute("SELECT * FROM nowhere").await.unwrap_err();
    assert_eq!(wrong.sqlstate(), Some("42P01"));
    assert!(wrong.to_string().contains("primary") && wrong.to_string().contains("nowhere"), "{wrong}");
    assert_eq!(node.query_text("SELECT NULL").await.unwrap(), None);

    let wrong = small().setting("no_such_setting", "1").start().await.unwrap_err();
    assert!(matches!(wrong, DevError::Exited { .. }) && wrong.to_string().contains("no_such_setting"), "{wrong}");
}

#[tokio::test]
async fn databases_come_from_a_template_and_reach_the_replicas() {
    let cluster = small().start().await.unwrap();
    with_table(&cluster).await;
    cluster.create_database_from("test-1", "app").await.unwrap();
    cluster.create_database("plain").await.unwrap();
    let there = "SELECT count(*) FROM pg_database WHERE datname IN ('test-1', 'plain')";
    assert_eq!(cluster.replica(1).query_text(there).await.unwrap().as_deref(), Some("2"));
    assert!(cluster.primary().url_for("test-1").ends_with("/test-1"));
    assert_eq!(cluster.create_database("plain").await.unwrap_err().sqlstate(), Some("42P04"));
    cluster.drop_database("test-1").await.unwrap();
    cluster.drop_database("never was").await.unwrap();
    assert_eq!(cluster.primary().query_text(there).await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn proxies_stand_before_every_server_and_on_the_replication_links() {
    let cluster = small().redis(true).proxied(true).proxied_replication(true).start().await.unwrap();
    with_table(&cluster).await;
    let (primary, replica) = (cluster.primary(), cluster.replica(1));
    for node in cluster.nodes() {
        assert!(node.url().contains(&node.proxy().unwrap().port().to_string()));
        assert!(node.direct_url().contains(&node.port().to_string()) && node.url() != node.direct_url());
    }
    let ask = || psql(&cluster, &primary.url(), "SELECT 1", &[]);
    assert!(ask().status.success() && primary.proxy().unwrap().bytes() > 0);
    primary.proxy().unwrap().reset();
    assert!(!ask().status.success());
    // Neither our own statements nor replication go through the clients' proxy.
    primary.execute("INSERT INTO t VALUES (1)").await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    primary.proxy().unwrap().heal();
    assert!(ask().status.success());

    replica.link().unwrap().stall();
    primary.execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert!(cluster.wait_caught_up(SILENCE).await.is_err());
    replica.link().unwrap().heal();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    replica.link().unwrap().reset();
    assert!(replica.wait_streaming(Duration::ZERO).await.is_err() || replica.link().unwrap().connections() == 0);
    replica.link().unwrap().heal();
    replica.wait_streaming(PATIENCE).await.unwrap();

    let redis = cluster.redis().unwrap();
    let proxy = redis.proxy().unwrap();
    assert!(redis.url().ends_with(&proxy.port().to_string()));
    assert_eq!(redis_says(proxy.port()).await.unwrap(), "+PONG\r\n");
    proxy.blackhole();
    assert!(timeout(SILENCE, redis_says(proxy.port())).await.is_err());
    proxy.heal();
    assert_eq!(redis_says(proxy.port()).await.unwrap(), "+PONG\r\n");
}

#[tokio::test]
async fn redis_dies_freezes_and_comes_back() {
    let cluster = Cluster::builder().replicas(0).start().await.unwrap();
    let redis = cluster.redis().unwrap();
    redis.freeze().await.unwrap();
    assert!(timeout(SILENCE, redis_says(redis.port())).await.is_err());
    redis.thaw().await.unwrap();
    assert_eq!(redis_says(redis.port()).await.unwrap(), "+PONG\r\n");
    redis.kill().await.unwrap();
    assert!(!redis.is_running() && redis_says(redis.port()).await.is_err());
    redis.start().await.unwrap();
    assert_eq!(redis_says(redis.port()).await.unwrap(), "+PONG\r\n");
    redis.restart().await.unwrap();
    redis.stop().await.unwrap();
    assert!(!redis.is_running());
}

#[tokio::test]
async fn a_password_is_asked_for_and_tls_is_offered() {
    let cluster = small().password("it's: a\\b/c@ü").tls(true).start().await.unwrap();
    let url = cluster.replica(1).url();
    let right = psql(&cluster, &url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]);
    assert_eq!(String::from_utf8_lossy(&right.stdout).trim(), "t", "{right:?}");
    let authority = cluster.ca_certificate().unwrap().to_string_lossy().into_owned();
    let verified = url.replace("sslmode=require", &format!("sslmode=verify-full&sslrootcert={authority}"));
    assert!(psql(&cluster, &verified, "SELECT 1", &[]).status.success());
    let other_name = verified.replace("127.0.0.1", "127.0.0.2");
    assert!(!psql(&cluster, &other_name, "SELECT 1", &[]).status.success());
    let port = cluster.replica(1).port();
    let wrong =
        psql(&cluster, &format!("postgres://postgres@127.0.0.1:{port}/app"), "SELECT 1", &[("PGPASSWORD", "wrong")]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("password authentication failed"), "{wrong:?}");
    assert!(!format!("{cluster:?}").contains("it's"));
}

#[tokio::test]
async fn a_named_folder_keeps_its_data_also_over_a_failover() {
    let parent = open_folder();
    let dir = parent.path().join("data");
    let first = small().data_dir(&dir).start().await.unwrap();
    with_table(&first).await;
    let busy = small().data_dir(&dir).start().await.unwrap_err();
    assert!(matches!(busy, DevError::InUse { .. }), "{busy}");
    first.primary().kill().await.unwrap();
    first.replica(1).execute("SELECT pg_promote()").await.unwrap();
    first.replica(1).execute("INSERT INTO t VALUES (1)").await.unwrap();
    first.stop().await.unwrap();
    assert!(dir.exists() && members(&dir).is_empty());

    let second = small().replicas(2).data_dir(&dir).start().await.unwrap();
    for node in second.nodes() {
        assert_eq!(count(node).await.as_deref(), Some("1"), "{}", node.name());
    }
    assert!(second.primary().is_primary().await.unwrap());
    second.stop().await.unwrap();

    let strangers = open_folder();
    std::fs::write(strangers.path().join("thesis.tex"), "").unwrap();
    let refused = small().data_dir(strangers.path()).start().await.unwrap_err();
    assert!(matches!(refused, DevError::Invalid(_)), "{refused}");
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
        .args(["--exact", "owner_to_be_killed", "--ignored", "--nocapture"])
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

/// A temporary folder that the servers' user can pass through.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn psql(cluster: &Cluster, url: &str, sql: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(cluster.binaries().tool("psql"));
    command.args(["-X", "-A", "-t", "-w", "-d", url, "-c", sql]).envs(env.iter().copied()).output().unwrap()
}

async fn redis_says(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = vec![0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
