//! Servers that die, freeze, fall behind and are cut off.

use dbopt_diesel::dev::Shutdown;
use tokio::time::timeout;

use super::*;

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
