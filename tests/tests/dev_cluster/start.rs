//! What a start makes.

use super::*;

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
